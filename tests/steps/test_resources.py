"""Tests of what a run folder holds of its selection."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from compass.config import AdaptConfig, load_options
from compass.data.example import Example
from compass.runs.files import write_json
from compass.runs.folder import Run
from compass.runs.places import same_place
from compass.selection import Candidates, get_strategy
from compass.steps.audit import write_selection
from compass.steps.card import _licence
from compass.steps.resources import Resources
from compass.steps.state import RunData

FUNCTIONS = ("TurnOn", "TurnOff")


def _rows(kinds: np.ndarray) -> tuple[Example, ...]:
    return tuple(
        Example(id=str(i), prompt=f"prompt {i}", response=f'{{"intent":"{FUNCTIONS[kind]}"}}', language="cy")
        for i, kind in enumerate(kinds)
    )


def test_the_account_of_classes_is_of_this_selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if names and classes are mixed up, if an earlier selection's account stays where this one has none, or if
    the map takes more of a set than it has room for: a hundred thousand training rows would take hours to project."""
    monkeypatch.setattr("compass.steps.audit.MAP_ROWS", 9)
    rng = np.random.default_rng(0)
    kinds = {"usage": np.repeat([0, 1], [9, 3]), "current": np.repeat([0, 1], [2, 8]), "pool": np.arange(80) % 2}
    vectors = {}
    for name, which in kinds.items():
        x = np.eye(8)[which] + 0.1 * rng.normal(size=(len(which), 8))
        vectors[name] = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    candidates = Candidates(
        usage=vectors["usage"],
        train=vectors["current"],
        pool=vectors["pool"],
        usage_clusters=kinds["usage"],
        train_clusters=kinds["current"],
        pool_clusters=kinds["pool"],
        n_clusters=2,
        pool_languages=tuple("de" if i % 4 < 2 else "fr" for i in range(80)),
        pool_costs=np.ones(80, dtype=np.int64),
        target_language="cy",
        train_classes=kinds["current"],
        pool_classes=kinds["pool"],
    )
    data = RunData(_rows(kinds["usage"]), _rows(kinds["current"]), _rows(kinds["pool"]), {})
    run = Run(tmp_path)
    write_json(run.path("space", "clusters.json"), [])

    def write(strategy: str) -> None:
        write_selection(run, get_strategy(strategy).select(candidates, 20, seed=0), candidates, data, seed=0)

    write("compass")
    account = pq.read_table(tmp_path / "selection" / "answers.parquet").to_pylist()
    assert [(row["name"], row["current_count"], row["supply"]) for row in account] == [
        ("TurnOn", 2, 40),
        ("TurnOff", 8, 40),
    ]
    picked = pq.read_table(tmp_path / "selection" / "audit.parquet").column("id").to_pylist()
    assert account[0]["picked"] == sum(kinds["pool"][int(i)] == 0 for i in picked)
    assert sum(row["picked"] for row in account) == 20

    on_the_map = Counter(pq.read_table(tmp_path / "selection" / "map.parquet").column("set").to_pylist())
    assert on_the_map == {"usage": 9, "current": 9, "pool": 9, "picked": 9}

    write("compass:class_quotas=false")
    assert not (tmp_path / "selection" / "answers.parquet").exists()


@pytest.mark.parametrize(
    ("name", "lines"),
    [("Apache-2.0", ["license: apache-2.0"]), ("gemma", ["license: gemma"]), ("", []),
     ("Our Own", ["license: other", 'license_name: "Our Own"'])],
)  # fmt: skip
def test_a_licence_is_named_as_the_hub_names_it(name, lines):
    """`other` hides a free licence from everyone who filters by it."""
    assert _licence(name) == lines


def test_a_model_folder_is_one_however_it_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another spelling a finished run would be trained again, and every text embedded again."""
    for name in ("model", "encoder", "embedded"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def resolved(model: str, encoder: str = "encoder", output: str = "run") -> AdaptConfig:
        overrides = {"language": "cy", "model_name_or_path": model, "encoder": encoder, "output_dir": output}
        return Resources(load_options(AdaptConfig, None, overrides)).config

    spellings = ("model", "./model/", "link", "~/model", str(tmp_path / "run" / ".." / "model"))
    for name in spellings:
        config = resolved(name, encoder="encoder".join(name.replace("link", "model").rsplit("model", 1)))
        assert config.training.model_name_or_path == str((tmp_path / "model").resolve())
        assert config.encoder.encoder == str((tmp_path / "encoder").resolve())
    for name in ("embedded:gemma3-270m", "org/model"):
        assert resolved(name, "embedded").training.model_name_or_path == name
    assert resolved("model", "embedded").encoder.encoder == "embedded"
    # Version 0.1 wrote what the user had given, and its stages go by that.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "compass.yaml").write_text("model_name_or_path: ./model\nencoder: encoder/\n", "utf-8")
    for name in spellings:
        assert resolved(name).training.model_name_or_path == "./model"
        assert resolved(name).encoder.encoder == "encoder/"
    (tmp_path / "run" / "compass.yaml").write_text("model_name_or_path: [", "utf-8")
    assert resolved("model").training.model_name_or_path == str((tmp_path / "model").resolve())


def test_two_names_are_of_one_model_by_place_or_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m").mkdir()
    monkeypatch.chdir(tmp_path)
    assert same_place(("m#prompt=", "1"), (f"{tmp_path}/m/#prompt=", "1"))
    assert same_place(("gone#prompt=", "sha256:ab"), ("m#prompt=", "sha256:ab"))
    assert not same_place(("m#prompt=", "1"), ("m#prompt=x", "1"))
    assert not same_place(("m", "sha256:ab"), ("m", "sha256:cd"))
    assert not same_place(("org/a", "1"), ("org/b", "1"))
