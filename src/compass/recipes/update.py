"""An update from end to end: read `update` top to bottom.

window of usage -> gap against the adapter's history -> selection -> anchors -> training from the serving adapter -> a
new run folder, in the same layout as adapt's, with its `parent` in the lock. The parent is only read.

E is the window's usage, D is all that the adapter was trained on (period by period), A is the parent's pool without the
rows that were picked before. The semantic space is the parent's, frozen, so that clusters mean the same over periods.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compass.config import (
    UPDATE_METHODS,
    AdaptConfig,
    UpdateConfig,
    UpdateOptions,
    changed_flags,
    dump_config,
    load_config,
)
from compass.data.example import Example
from compass.data.readers import read_examples, read_jsonl, write_jsonl
from compass.encoders import CachedEncoder
from compass.errors import RunError
from compass.recipes.adapt import ADAPTER, Placed, Selected, choose, embed, place_candidates, write_card, write_lock
from compass.runs.folder import Run, file_hash, fingerprint, versions, write_json, write_text
from compass.selection import draw_anchors
from compass.semantic.arrays import IntArray
from compass.semantic.space import SemanticSpace
from compass.steps.read import Gathered, columns_of, gather, hold_out_half, with_normal_language
from compass.steps.resources import base_model, open_encoder, write_training
from compass.training.balance import repeats_in_training
from compass.training.soup import identity as training_identity

if TYPE_CHECKING:
    from compass.training import BaseModel, Fisher

logger = logging.getLogger(__name__)

FISHER = "fisher.safetensors"
"""Fisher information of a version that was trained with the penalty, beside its adapter."""
NEEDED = (
    ADAPTER, "compass.yaml", "data/current.jsonl", "data/pool.jsonl", "data/tests.json",
    "lock.json", "selection/selected.jsonl", "space/space.safetensors",
)  # fmt: skip
"""Files of a run folder that an update reads."""


@dataclass(frozen=True)
class Version:
    """A finished run folder as an update sees it."""

    folder: Path
    period: int
    """Updates that led to it; 0 for a run of `adapt`."""
    history: tuple[Example, ...]
    """All rows that it and its ancestors were trained on; ids are `PERIOD/current/ID` or `PERIOD/picked/ID`."""
    tests: Mapping[str, tuple[Example, ...]]
    """Its held-out rows by name; the usage of its own period is the first."""
    lock: Mapping[str, Any]

    @property
    def adapter(self) -> Path:
        """Folder of its adapter."""
        return self.folder / "adapter"


@dataclass(frozen=True)
class Updated:
    """Where a finished update keeps its results."""

    run_dir: Path
    adapter: Path
    report: Path
    parent: Path
    differences: tuple[dict[str, Any], ...]
    """New adapter − parent's adapter for each test and metric, with paired intervals."""


def update(
    config: AdaptConfig,
    options: UpdateConfig,
    *,
    parent: Path,
    window: str,
    current: str = "",
    test: str = "",
    pool: Sequence[str] = (),
    mapped: bool = True,
) -> Updated:
    """Let the adapter of the run folder `parent` follow the usage in `window`; write a run folder of its own.

    config: the parent's options (`load_config(parent / "compass.yaml", overrides)`) with an `output_dir` of its own.
    window: source of prompts; responses are welcome. current: new training data at hand, if any. test: held-out new
    usage; empty: half of the window's rows that have a response. pool: other sources than the parent's pool. mapped:
    read the new sources with the parent's column mapping; False: they are in our own columns. The parent's tests are
    taken over, so that each earlier period is measured. Resumes as `adapt` does.
    Raises RunError if `parent` is no finished run or was changed.
    """
    from compass.report import build_report
    from compass.steps.evaluate import measure, measure_model

    version = read_version(parent)
    config = dataclasses.replace(
        with_normal_language(config),
        data=dataclasses.replace(config.data, usage=window, test=test),
        # It goes on from the parent's adapter, in one training.
        training=dataclasses.replace(config.training, adapter=str(version.adapter), averaged_trainings=1),
    )
    run = Run(Path(config.run.output_dir))
    if run.folder.resolve() == parent.resolve():
        raise RunError(f"The update would overwrite its parent {parent}. Choose another --output_dir.")
    with run.locked():
        write_text(run.path("compass.yaml"), dump_config(config))

        # 1. The window's usage E, the history D, the pool A, and the tests of every period.
        data = _gather(run, config, version, window, current, test, pool, mapped=mapped)

        # 2. Their places in the parent's space.
        encoder = open_encoder(config)
        placed = Placed(data, encoder, embed(encoder, data), _frozen_space(run, version, encoder))

        # 3. What the new usage needs, the history lacks and the pool has.
        candidates = place_candidates(config, placed)
        selected = choose(run, config, placed, candidates)

        # 4. What of the history is rehearsed, and which weights it needs.
        base = base_model(config)
        anchors = _draw_anchors(run, config, options, version, base, data.current, candidates.current_clusters)
        old_fisher = _fisher_of_parent(run, config, options, version, base)

        # 5. The same trainer, from the serving adapter; with a penalty, Fisher information for the next one.
        adapter = _train(run, config, options, version, base, selected, anchors, old_fisher)
        _measure_fisher(run, config, options, version, base, selected, old_fisher)

        # 6. Base model, parent and new adapter on the same rows: what was won, what was lost.
        known = _answers_of(version, config, base)
        _, from_base = measure(run, config, base, adapter, selected, base_answers=known.get("base"))
        before = measure_model(run, config, base, "parent", version.adapter, selected, answers=known.get("adapter"))
        after = measure_model(run, config, base, "adapter", adapter, selected)
        differences = _write_differences(run, before, after)

        write_lock(run, config, selected, base)
        given = {"--new-data": current, "--new-test": test, "--new-pool": pool, "--output-dir": config.run.output_dir}
        _add_parent(run, options, version, _command(version, window, given, config, options))
        write_card(run, config, base, selected, from_base)
        report = build_report(run.folder)
    return Updated(run.folder, adapter, report, parent, differences)


def read_version(folder: Path) -> Version:
    """Read a finished run folder. Raises RunError if a file is missing or the adapter is not the one in its lock."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise RunError(
            f"{folder} is no finished run: {', '.join(missing)} is missing. Give the output_dir of `compass adapt` or "
            "`compass update`, and let it finish first."
        )
    lock = json.loads((folder / "lock.json").read_text(encoding="utf-8"))
    if file_hash(folder / ADAPTER) != lock["hashes"].get(ADAPTER):
        raise RunError(f"{folder}: {ADAPTER} is not the file of its lock.json. Restore it, or run the command again.")
    period = int(lock.get("update", {}).get("period", 0))
    current = read_jsonl(folder / "data" / "current.jsonl")
    if not period:
        current = [dataclasses.replace(row, id=f"0/current/{row.id}") for row in current]
    picked = read_jsonl(folder / "selection" / "selected.jsonl")
    history = [*current, *(dataclasses.replace(row, id=f"{period}/picked/{row.id}") for row in picked)]
    names = json.loads((folder / "data" / "tests.json").read_text(encoding="utf-8"))
    tests = {name: tuple(read_jsonl(folder / "data" / "tests" / f"{name}.jsonl")) for name in names}
    return Version(folder, period, tuple(history), tests, lock)


def period_of(row: Example) -> int:
    """Return the period that a row of a history was first trained in, 0 for the oldest."""
    return int(row.id.partition("/")[0])


def _gather(
    run: Run,
    config: AdaptConfig,
    version: Version,
    window: str,
    current: str,
    test: str,
    pool: Sequence[str],
    *,
    mapped: bool,
) -> Gathered:
    """Write the update's sources in one schema into `inputs/` and clean them as adapt does."""
    language, columns = config.data.language, config.data if mapped else dataclasses.replace(config.data, columns={})
    usage = read_examples(window, columns=columns_of(columns, "usage"), default_language=language)
    if test:
        held_out = read_examples(test, columns=columns_of(columns, "test"), default_language=language)
    else:
        usage, held_out = hold_out_half(usage, config.run.seed)
    new: list[Example] = []
    if current:
        rows = read_examples(
            current, columns=columns_of(columns, "current"), default_language=language, require_response=True
        )
        new = [dataclasses.replace(row, id=f"{version.period + 1}/current/{row.id}") for row in rows]
    inputs = run.folder / "inputs"
    try:
        write_jsonl(run.path("inputs", "usage.jsonl"), usage)
        write_jsonl(run.path("inputs", "history.jsonl"), [*version.history, *new])
        if not pool:
            seen = {(row.prompt, row.response) for row in version.history}
            rows = read_jsonl(version.folder / "data" / "pool.jsonl")
            unseen = (row for row in rows if (row.prompt, row.response) not in seen)
            write_jsonl(run.path("inputs", "pool.jsonl"), unseen)
        if held_out:
            write_jsonl(run.path("inputs", "tests", f"{language}.jsonl"), held_out)
        kept = []
        for name, tests in version.tests.items():
            # The parent's own usage makes room for the new one, and says which period it is of.
            period = f"{name}-{version.period}" if name == language else name
            path = run.path("inputs", "tests", f"{period}.jsonl")
            write_jsonl(path, tests)
            kept.append(str(path))
        sources = dataclasses.replace(
            config.data,
            usage=str(inputs / "usage.jsonl"),
            current=str(inputs / "history.jsonl"),
            pool=tuple(pool) or (str(inputs / "pool.jsonl"),),
            test=str(inputs / "tests" / f"{language}.jsonl") if held_out else "",
            retention_tests=tuple(kept),
            columns={f"pool.{ours}": theirs for ours, theirs in (columns_of(config.data, "pool") or {}).items()}
            if pool
            else {},
        )
        return gather(run, sources, seed=config.run.seed)
    finally:
        # Prompts are private: the cleaned rows in data/ are the only copy that stays, also where gathering fails.
        shutil.rmtree(inputs, ignore_errors=True)


def _frozen_space(run: Run, version: Version, encoder: CachedEncoder) -> SemanticSpace:
    wanted = version.lock["encoder"]
    if [encoder.name, encoder.revision] != [wanted["name"], wanted["revision"]]:
        raise RunError(
            f"The space of {version.folder} was fitted with the encoder {wanted['name']} ({wanted['revision']}), and "
            f"{encoder.name} ({encoder.revision}) was loaded. Use the same encoder, or start anew with compass adapt."
        )
    inputs = {"space": file_hash(version.folder / "space" / "space.safetensors")}
    target = run.folder / "space"
    if run.finished("space", inputs):
        run.skip("space")
    else:
        with run.stage("space", inputs, [target]):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(version.folder / "space", target)
    return SemanticSpace.load(target)


def _draw_anchors(
    run: Run,
    config: AdaptConfig,
    options: UpdateConfig,
    version: Version,
    base: BaseModel,
    at_hand: Sequence[Example],
    clusters: IntArray,
) -> list[Example]:
    method = UPDATE_METHODS[options.method]
    if not method.replay:
        return []
    # As often as they were trained on: rows at hand of a rare answer were repeated, and would all but fade otherwise.
    old = [
        i
        for i, (row, times) in enumerate(zip(at_hand, _repeats(config, at_hand), strict=True))
        if period_of(row) <= version.period
        for _ in range(times)
    ]
    history, clusters = [at_hand[i] for i in old], clusters[old]
    rule = "random" if method.replay == "random" else options.anchor_rule
    file = run.path("anchors", "anchors.jsonl")
    inputs = {
        "rule": [rule, options.anchor_share, options.min_anchors, options.max_anchors, config.run.seed],
        "history": fingerprint({"rows": [row.to_dict() for row in history]}),
        "clusters": clusters.tolist(),
        "adapter": file_hash(version.adapter / "adapter_model.safetensors") if rule == "loss" else "",
    }
    if run.finished("anchors", inputs):
        run.skip("anchors")
        return read_jsonl(file)
    with run.stage("anchors", inputs, [file.parent]):
        losses = None
        if rule == "loss":
            from compass.training import LanguageModel

            training = config.training
            model = LanguageModel(base, version.adapter, dtype=training.dtype, load_in_4bit=training.load_in_4bit)
            nats, n_bytes = model.loss(history)
            losses = nats / np.maximum(n_bytes, 1)
        drawn = draw_anchors(
            clusters,
            periods=[period_of(row) for row in history],
            losses=losses,
            share=options.anchor_share,
            least=options.min_anchors,
            most=options.max_anchors,
            rule=rule,
            seed=config.run.seed,
        )
        anchors = [history[i] for i in drawn.indices]
        write_jsonl(file, anchors)
        by_period = {str(period): {"rows": had, "anchors": n} for period, (had, n) in drawn.by_period.items()}
        write_json(run.path("anchors", "summary.json"), {"rule": rule, "wanted": drawn.wanted, "periods": by_period})
    return anchors


def _fisher_of_parent(
    run: Run, config: AdaptConfig, options: UpdateConfig, version: Version, base: BaseModel
) -> Fisher | None:
    """Load the parent's Fisher information, or measure it: a run without a penalty keeps none."""
    from compass.training import Fisher, adapter_fisher

    if not UPDATE_METHODS[options.method].penalty:
        return None
    stored = version.folder / FISHER
    if stored.is_file():
        return Fisher.load(stored)
    rows = _sample(version.history, options.fisher_rows, config.run.seed)
    file = run.path("training", "parent-" + FISHER)
    inputs = {
        "adapter": file_hash(version.adapter / "adapter_model.safetensors"),
        "rows": fingerprint({"rows": [row.to_dict() for row in rows]}),
    }
    if run.finished("fisher-parent", inputs):
        run.skip("fisher-parent")
        return Fisher.load(file)
    with run.stage("fisher-parent", inputs, [file]):
        fisher = adapter_fisher(rows, base=base, adapter=version.adapter, config=config.training)
        fisher.save(file)
    return fisher


def _train(
    run: Run,
    config: AdaptConfig,
    options: UpdateConfig,
    version: Version,
    base: BaseModel,
    selected: Selected,
    anchors: Sequence[Example],
    fisher: Fisher | None,
) -> Path:
    from compass.training import update_adapter

    method = UPDATE_METHODS[options.method]
    history, new = _old_and_new(config, version, selected)
    history = history if method.all_history else []
    inputs = {
        "training": training_identity(config.training),
        "update": asdict(options),
        "seed": config.run.seed,
        "model": [base.name, base.revision],
        "parent": file_hash(version.adapter / "adapter_model.safetensors"),
        "rows": fingerprint({"rows": [row.to_dict() for row in (*history, *new)]}),
        "anchors": fingerprint({"rows": [row.to_dict() for row in anchors]}),
    }
    adapter = run.folder / "adapter"
    if run.finished("training", inputs):
        run.skip("training")
        return adapter
    with run.stage("training", inputs, [adapter, run.folder / "training"]):
        result = update_adapter(
            new,
            adapter=version.adapter,
            base=base,
            config=config.training,
            options=options,
            output_dir=run.folder,
            seed=config.run.seed,
            history=history,
            anchors=anchors,
            fisher=fisher,
        )
        write_training(run, result, len(history) + len(new))
    return adapter


def _old_and_new(config: AdaptConfig, version: Version, selected: Selected) -> tuple[list[Example], list[Example]]:
    """Return the rows of earlier periods and of this one, the rows at hand repeated as `adapt` repeats them."""
    rows = selected.data.current
    repeated = [row for row, times in zip(rows, _repeats(config, rows), strict=True) for _ in range(times)]
    old = [row for row in repeated if period_of(row) <= version.period]
    return old, [*selected.examples, *(row for row in repeated if period_of(row) > version.period)]


def _repeats(config: AdaptConfig, rows: Sequence[Example]) -> list[int]:
    """Return how often an epoch sees each row of the history: rows at hand as `adapt` repeats them, picks once."""
    at_hand = [row for row in rows if row.id.split("/")[1] == "current"]
    times = iter(repeats_in_training(at_hand, config.training))
    return [next(times) if row.id.split("/")[1] == "current" else 1 for row in rows]


def _measure_fisher(
    run: Run,
    config: AdaptConfig,
    options: UpdateConfig,
    version: Version,
    base: BaseModel,
    selected: Selected,
    previous: Fisher | None,
) -> None:
    """Keep the new version's Fisher information, where the method has a penalty.

    accumulated: the parent's, plus what the new rows add. latest: measured anew on a sample of all rows.
    """
    from compass.training import accumulate, adapter_fisher

    if not UPDATE_METHODS[options.method].penalty:
        (run.folder / FISHER).unlink(missing_ok=True)
        run.forget("fisher")
        return
    adds_up = options.fisher_mode == "accumulated"
    oldest = version.period + 1 if adds_up and previous else 0
    at_hand = [row for row in selected.data.current if period_of(row) >= oldest]
    rows = _sample([*at_hand, *selected.examples], options.fisher_rows, config.run.seed)
    inputs = {
        "adapter": file_hash(run.folder / "adapter" / "adapter_model.safetensors"),
        "rows": fingerprint({"rows": [row.to_dict() for row in rows]}),
        "mode": [adds_up, options.fisher_decay],
        "parent": file_hash(version.adapter / "adapter_model.safetensors"),
    }
    if run.finished("fisher", inputs):
        run.skip("fisher")
        return
    with run.stage("fisher", inputs, [run.folder / FISHER]):
        fisher = adapter_fisher(rows, base=base, adapter=run.folder / "adapter", config=config.training)
        if adds_up and previous:
            fisher = accumulate(previous, fisher, decay=options.fisher_decay)
        fisher.save(run.folder / FISHER)


def _sample(rows: Sequence[Example], most: int, seed: int) -> list[Example]:
    with_response = [row for row in rows if row.response]
    chosen = np.random.default_rng(seed).permutation(len(with_response))[:most]
    return [with_response[i] for i in np.sort(chosen)]


def _answers_of(version: Version, config: AdaptConfig, base: BaseModel) -> dict[str, Path]:
    """Return what the parent's run measured, by model (`base`, `adapter`), as far as it would come out the same now."""
    from compass.steps.evaluate import precision

    before = load_config(version.folder / "compass.yaml")
    model = version.lock["model"]
    same = (
        [model["name"], model["revision"]] == [base.name, base.revision]
        and version.lock["versions"] == versions()
        and precision(before) == precision(config)
        and before.evaluation.max_new_tokens == config.evaluation.max_new_tokens
    )
    folders = {name: version.folder / "eval" / name for name in ("base", "adapter")}
    return {name: folder for name, folder in folders.items() if same and folder.is_dir()}


def _write_differences(run: Run, before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    from compass.evaluation import compare, write_differences

    found = [difference for name in after for difference in compare(before[name], after[name])]
    write_differences(found, run.path("eval", "differences-parent.json"))
    return tuple(difference.to_dict() for difference in found)


def _command(
    version: Version, window: str, given: Mapping[str, str | Sequence[str]], config: AdaptConfig, options: UpdateConfig
) -> str:
    """Return the command line of an update: what it was given, and each option that is not the parent's.

    given: flag -> its values.
    """
    flags = [
        part
        for flag, values in given.items()
        for value in ([values] if isinstance(values, str) else values)
        for part in (flag, value)
        if value
    ]

    now = UpdateOptions(config, options)
    before = UpdateOptions(load_config(version.folder / "compass.yaml"))
    own = ("output_dir", "usage", "test", "adapter")
    return shlex.join(
        ["compass", "update", str(version.folder), window, *flags, *changed_flags(now, before, leaving_out=own)]
    )


def _add_parent(run: Run, options: UpdateConfig, version: Version, command: str) -> None:
    file = run.path("lock.json")
    lock = json.loads(file.read_text(encoding="utf-8"))
    lock["parent"] = {
        "folder": str(version.folder.resolve()),
        "lock": file_hash(version.folder / "lock.json"),
        "adapter": file_hash(version.adapter / "adapter_model.safetensors"),
    }
    lock["update"] = {"period": version.period + 1, **asdict(options)}
    if (run.folder / FISHER).is_file():
        lock["hashes"][FISHER] = file_hash(run.folder / FISHER)
    lock["command"] = command
    write_json(file, lock)
