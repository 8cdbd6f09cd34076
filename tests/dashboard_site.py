"""A registry with versions, a monitor and traffic, small, for the dashboard's tests."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from compass.config import EvaluationConfig, MonitorConfig
from compass.data.example import Example
from compass.drift import Monitor, Reference, Skipped
from compass.drift.results import ELSEWHERE
from compass.drift.tables import database_in
from compass.evaluation import evaluate
from compass.evaluation.files import write_evaluation
from compass.registry import Registry
from compass.runs.files import file_hash, write_json
from compass.semantic import SemanticSpace
from compass.serve.store import Answer, Said, Store
from run_folders import write_run, write_topic_space
from topics import TopicEncoder, prompts

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\" onmouseover=\"alert(2)"
STEADY = [0.3, 0.25, 0.2, 0.15, 0.05, 0.05]
DRIFTED = [0.1, 0.1, 0.1, 0.1, 0.1, 0.5]
HOUR = 3600.0


def write_measured(folder: Path, space: Path, *, seed: int, language: str, exact: float, base: float = 0.05) -> Path:
    """Write a run with a quality, a map and a report."""
    write_run(folder, space, seed=seed, language=language)
    rng = np.random.default_rng(seed)
    for model, value in (("base", base), ("adapter", exact)):
        metrics = {"exact_match": {"value": value, "low": max(0.0, value - 0.08), "high": min(1.0, value + 0.08)}}
        write_json(
            folder / "eval" / model / f"{language}.json",
            {"name": language, "language": language, "rows": 150, "metrics": metrics},
        )
    (folder / "eval" / "adapter" / "cy.json").unlink() if language != "cy" else None
    rows = [
        {"x": float(x), "y": float(y), "set": kind, "language": language, "cluster": k, "text": f"{HOSTILE} {k}"}
        for k in range(6)
        for kind, n in (("usage", 30), ("pool", 40))
        for x, y in rng.normal([5 * np.cos(k), 5 * np.sin(k)], 0.8, (n, 2))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "selection" / "map.parquet")
    return folder


def topic_space(folder: Path, *, hostile: bool = False) -> Path:
    """Write a space of six named topics, and return it; hostile: one of the names is markup."""
    write_topic_space(folder)
    if hostile:
        names = json.loads((folder / "space" / "clusters.json").read_text())
        names[0]["name"] = HOSTILE
        (folder / "space" / "clusters.json").write_text(json.dumps(names))
    return folder / "space"


def watched(watch_dir: Path, version_space: Path, language: str, mixes: list[tuple[int, list[float]]], *,
            extra: str = "", mode: str = "redacted") -> None:  # fmt: skip
    """Let a monitor count prompts of these mixes, a batch each."""
    encoder = TopicEncoder()
    space = SemanticSpace.load(version_space)
    texts = prompts(600, STEADY, 1)
    reference = Reference.fit(space, encoder.encode(texts), [language] * 600, seed=0)
    names = [row["name"] for row in json.loads((version_space / "clusters.json").read_text())]
    folder = watch_dir / language
    folder.mkdir(parents=True, exist_ok=True)
    config = MonitorConfig(window=300, reservoir=mode, reservoir_size=80)
    now = time.time()
    with Monitor(
        reference, config, database=database_in(folder / "monitor.db"), name=f"watch-{language}", cluster_names=names
    ) as monitor:
        sent = 0
        for batch, (n, mix) in enumerate(mixes):
            texts = [
                f"{text} {extra}" if extra and not i % 20 else text
                for i, text in enumerate(prompts(n, mix, 10 + batch))
            ]
            times = now - 24 * HOUR + 60 * (sent + np.arange(n))
            monitor.observe(
                encoder.encode(texts), [language] * n, texts=texts, batch_id=str(batch), times=times,
                sessions=[f"{batch}-{i}" for i in range(n)],
                skipped=() if batch else [Skipped(ELSEWHERE, 7, "day.jsonl:1")],
            )  # fmt: skip
            sent += n


def answered(serve_dir: Path, language: str, versions: dict[int, int]) -> None:
    """Write answers of versions over the last day, and thumbs for some."""
    serve_dir.mkdir(parents=True, exist_ok=True)
    store = Store(database_in(serve_dir / "serve.db"))
    now, rng = time.time(), np.random.default_rng(0)
    for version, n in versions.items():
        rows = [
            Answer(f"{language}-{version}-{i}", f"c{i}", "app", language, version, False,
                   now - float(rng.beta(2, 3)) * 23 * HOUR, {})
            for i in range(n)
        ]  # fmt: skip
        store.add(rows)
        for i, row in enumerate(rows[:: max(1, n // 8)]):
            store.say(Said(row.id, "app", int(i % 4 != 0), None), now)
    store.close()


def make_site(root: Path, *, hostile: bool = False) -> Path:
    """Make `registry`, `watch` and `serve`: Welsh drifts and has a candidate, Greek is steady, German new."""
    registry = Registry(root / "registry")
    spaces = {"cy": topic_space(root / "space-cy", hostile=hostile), "el": topic_space(root / "space-el")}
    for number, exact in enumerate((0.41, 0.55)):
        run = write_measured(root / f"cy{number}", spaces["cy"], seed=number, language="cy", exact=exact)
        registry.register(run)
        registry.promote("cy", reason=HOSTILE if hostile else "better")
    run = write_measured(root / "cy2", spaces["cy"], seed=2, language="cy", exact=0.61)
    candidate(run, registry)
    registry.register(write_measured(root / "el0", spaces["el"], seed=3, language="el", exact=0.5))
    registry.promote("el")
    registry.register(write_measured(root / "de0", spaces["el"], seed=4, language="de", exact=0.7))
    extra = HOSTILE if hostile else ""
    steady = [(100, STEADY)] * 8
    watched(root / "watch", spaces["cy"], "cy", [*steady, *[(100, DRIFTED)] * 5], extra=extra)
    watched(root / "watch", spaces["el"], "el", steady)
    answered(root / "serve", "cy", {1: 400, 2: 900})
    answered(root / "serve", "el", {1: 300})
    answered(root / "serve", "fr", {0: 40})
    return root


def candidate(run: Path, registry: Registry, *, exact: tuple[float, float] = (0.5, 0.8)) -> None:
    """Register a run as an update of Welsh, measured against its parent: right on these shares of rows."""
    parent = registry.get("cy", "production")
    names = ["cy", "cy-0", "english"]
    for test in names:
        for model, share in (("parent", exact[0]), ("adapter", exact[1] if test == "cy" else exact[0])):
            write_measurement(run / "eval" / model, test, share)
    write_json(run / "data" / "tests.json", names)
    lock = json.loads((run / "lock.json").read_text())
    lock["parent"] = {"adapter": file_hash(parent.folder / "adapter" / "adapter_model.safetensors")}
    write_json(run / "lock.json", lock)
    registry.register(run, parent=parent.id, trigger="drift")


class Answering:
    """A model that is right on the first rows."""

    def __init__(self, right: int) -> None:
        self.right = right

    def generate(self, rows: list[Example], **_: object) -> list[str]:
        """Return an answer for each row; the rows' ids say which are right."""
        return [row.response if int(row.id) < self.right else "no" for row in rows]

    def loss(self, rows: list[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Return nats and bytes of each response."""
        return np.ones(len(rows)), np.full(len(rows), 4.0)


def write_measurement(folder: Path, test: str, share: float, n: int = 120) -> None:
    """Write what a model did on n rows of a test: right on the first ones."""
    rows = [Example(str(i), f"{test} prompt {i}", f"answer {i}", "en" if test == "english" else "cy") for i in range(n)]
    model = Answering(round(share * n))
    config = EvaluationConfig()
    write_evaluation(
        evaluate(model, rows, name=test, language=rows[0].language, config=config, seed=0, draws=50), folder
    )
