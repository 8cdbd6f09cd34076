"""An update from end to end: read `update` top to bottom.

window of usage -> gap against the adapter's history -> selection -> anchors -> training from the serving adapter -> a
new run folder, in the same layout as adapt's, with its `parent` in the lock. The parent is only read.

E is the window's usage, D is all that the adapter was trained on (period by period), A is the parent's pool without the
rows that were picked before. The semantic space is the parent's, frozen, so that clusters mean the same over periods.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from compass.config import (
    UPDATE_METHODS,
    AdaptConfig,
    DataConfig,
    UpdateConfig,
    UpdateOptions,
    changed_flags,
    dump_config,
    load_parent,
    read_stored,
    recorded,
)
from compass.config.update import OF_THE_PARENT
from compass.data.example import Dropped, Example
from compass.data.readers import SourceAccount
from compass.errors import RunError
from compass.evaluation import Evaluation, compare, write_differences
from compass.records import Difference
from compass.report import build_report
from compass.runs import layout
from compass.runs.files import file_hash, fingerprint, read_json, write_json, write_text
from compass.runs.folder import Run
from compass.runs.machine import versions
from compass.steps.card import write_card
from compass.steps.evaluate import evaluate, evaluate_one, precision
from compass.steps.history import TRAIN, Version, as_history, read_version
from compass.steps.label import suggest_labels
from compass.steps.lengths import keep_fitting
from compass.steps.lock import write_lock
from compass.steps.read import Sources, check_sources, clean_data, fill_in, hold_out_half, read_pool, read_set
from compass.steps.resources import Resources
from compass.steps.retention import draw_anchors, history_repeats, keep_fisher, parent_fisher
from compass.steps.select import choose, place_candidates
from compass.steps.space import place_in
from compass.steps.state import RunData, Selected
from compass.steps.stored_data import stored_data
from compass.steps.train import training_identity, write_training

if TYPE_CHECKING:
    from compass.training import Fisher

Rows = str | Sequence[Example]
"""The name of a source, or rows; empty: none."""


@dataclass(frozen=True)
class Updated:
    """Where a finished update keeps its results."""

    run_dir: Path
    adapter: Path
    report: Path
    parent: Path
    differences: tuple[Difference, ...]
    """New adapter − parent's adapter for each test and metric, with paired intervals."""


@dataclass(frozen=True)
class NewData:
    """The new data of an update."""

    window: Rows
    """Prompts of new usage, with responses if there are any."""
    train: Rows = ""
    """New training rows in the target language, if any."""
    test: Rows = ""
    """Held-out new usage with responses; empty: half of the window's rows that have a response."""
    pool: Sequence[str] = ()
    """Other sources than the parent's pool."""
    left_out: Mapping[str, Sequence[Dropped]] = field(default_factory=dict)
    """If rows are given instead of sources: the rows that were left out, by set (`usage`, `current`, `test cy`)."""


def update(config: AdaptConfig, options: UpdateConfig, *, parent: Path, new: NewData) -> Updated:
    """Update the adapter of the run folder `parent` to the usage in `new.window`; write a new run folder.

    config: the parent's options (`load_stored(parent / "compass.yaml", overrides)`) with another `output_dir`. The
    parent's tests are kept, so that each earlier period is measured. Resumes as `adapt` does.
    Raises RunError if `parent` is not a finished run or was changed.
    """
    resources, run, version = _opened(config, parent)
    with run.locked():
        data = _read(run, resources.config, version, new)
        done = _follow(run, resources, options, version, data)
        _write_parent(run, options, version, _command(version, new, resources.config, options))
        report = build_report(run.folder)
    return dataclasses.replace(done, report=report)


def begin(config: AdaptConfig, *, parent: Path, new: NewData) -> None:
    """Do only the first step of an update: read and clean its data into the run folder, where `finish` finds it."""
    resources, run, version = _opened(config, parent)
    with run.locked():
        _read(run, resources.config, version, new)


def finish(config: AdaptConfig, options: UpdateConfig, *, parent: Path) -> Updated:
    """Finish an update from the data that `begin` left in its run folder, as `update` does."""
    resources, run, version = _opened(config, parent)
    with run.locked():
        data = stored_data(run.folder)
        done = _follow(run, resources, options, version, data)
        # The rows themselves lie in the run folder: from there the update can be made again.
        language = resources.config.data.language
        own = run.folder / layout.test_file(language)
        new = NewData(str(run.folder / layout.USAGE), test=str(own) if language in data.tests else "")
        _write_parent(run, options, version, _command(version, new, resources.config, options))
        report = build_report(run.folder)
    return dataclasses.replace(done, report=report)


def _follow(run: Run, resources: Resources, options: UpdateConfig, version: Version, data: RunData) -> Updated:
    config = resources.config
    data = keep_fitting(run, resources, data)

    # 2. Place the data in the parent's space.
    wanted = version.lock["encoder"]
    placed = place_in(run, resources, data, version.folder, (wanted["name"], wanted["revision"]))

    # 3. Select what the new usage needs, the history lacks and the pool has.
    candidates = place_candidates(resources, placed)
    selected = choose(run, resources, placed, candidates)
    suggest_labels(run, resources, placed)

    # 4. Rows of the history to replay, and its Fisher information if the method has a penalty.
    anchors = draw_anchors(run, config, options, version, data.train, candidates.train_clusters)
    fisher = parent_fisher(run, resources, options, version)

    # 5. The same trainer, from the serving adapter; with a penalty, Fisher information for the next one.
    adapter = _train(run, resources, options, version, selected, anchors, fisher)
    keep_fisher(run, resources, options, version, selected, fisher)

    # 6. Base model, parent and new adapter on the same rows: what was gained, what was lost.
    known = _known_answers(resources, version)
    evaluated = evaluate(run, resources, adapter, selected, base_answers=known.get("base"))
    before = evaluate_one(run, resources, "parent", version.adapter, selected, answers=known.get("adapter"))
    differences = _compared(run, before, evaluated.adapter)

    write_lock(run, resources, trained=True)
    write_card(run, resources, selected, evaluated.differences)
    return Updated(run.folder, adapter, run.folder / layout.REPORT, version.folder, differences)


def _opened(config: AdaptConfig, parent: Path) -> tuple[Resources, Run, Version]:
    """Return what an update works with. It goes on from the parent's adapter, in one training."""
    if config.training.load_in_4bit:
        from compass.training import check_four_bits

        check_four_bits()
    version = read_version(parent)
    training = dataclasses.replace(config.training, adapter=str(version.adapter), averaged_trainings=1)
    resources = Resources(dataclasses.replace(config, training=training))
    run = Run(Path(config.run.output_dir))
    if run.folder.resolve() == parent.resolve():
        raise RunError(f"The update would overwrite its parent {parent}. Choose another --output-dir.")
    return resources, run, version


def _read(run: Run, config: AdaptConfig, version: Version, new: NewData) -> RunData:
    """Read and clean the window's usage E, the history D, the pool A, and the tests of every period."""
    seed, language = config.run.seed, config.data.language
    given = (new.window, new.train, new.test, *new.pool)
    check_sources(*(fill_in(source, language=language, seed=seed) for source in given if isinstance(source, str)))
    data = dataclasses.replace(config.data, usage=_named(new.window, "rows"), test=_named(new.test, "rows"))
    write_text(run.path(layout.CONFIG), dump_config(dataclasses.replace(config, data=data)))
    accounts: dict[str, list[SourceAccount]] = {"usage": [], "current": [], "pool": [], f"test {language}": []}
    usage = _rows(data, "usage", new.window, seed, accounts["usage"])
    held_out = _rows(data, "test", new.test, seed, accounts[f"test {language}"])
    if not new.test:
        usage, held_out = hold_out_half(usage, seed)
    train = _rows(data, "train", new.train, seed, accounts["current"])
    tests: dict[str, Sequence[Example]] = {language: held_out} if held_out else {}
    for name, rows in version.tests.items():
        # The parent's own usage makes room for the new one, and says which period it is of.
        tests[f"{name}-{version.period}" if name == language else name] = rows
    pool = [fill_in(source, language=language, seed=seed) for source in new.pool]
    sources = Sources(
        usage=usage,
        train=[*version.history, *as_history(train, TRAIN, version.period + 1)],
        pool=read_pool(data, pool, accounts["pool"]) if pool else version.unseen_pool(),
        tests=tests,
        accounts=accounts,
        left_out=new.left_out,
    )
    return clean_data(run, sources, data, seed=seed)


def _rows(data: DataConfig, part: str, rows: Rows, seed: int, accounts: list[SourceAccount]) -> list[Example]:
    if not isinstance(rows, str):
        return list(rows)
    return read_set(data, part, fill_in(rows, language=data.language, seed=seed), accounts=accounts) if rows else []


def _named(rows: Rows, what: str) -> str:
    """Return the name of a source, or a word for rows that have none."""
    return rows if isinstance(rows, str) else what if rows else ""


def _train(
    run: Run,
    resources: Resources,
    options: UpdateConfig,
    version: Version,
    selected: Selected,
    anchors: Sequence[Example],
    fisher: Fisher | None,
) -> Path:
    from compass.training import update_adapter

    config, base = resources.config, resources.base
    history, new = _old_and_new(config, version, selected)
    history = history if UPDATE_METHODS[options.method].all_history else []
    inputs = {
        "training": training_identity(config.training),
        "update": recorded(options),
        "seed": config.run.seed,
        "model": [base.name, base.revision],
        "parent": version.weights_hash,
        "rows": fingerprint({"rows": [row.to_dict() for row in (*history, *new)]}),
        "anchors": fingerprint({"rows": [row.to_dict() for row in anchors]}),
    }
    adapter = run.folder / layout.ADAPTER
    if run.finished("training", inputs):
        run.skip("training")
        return adapter
    with run.stage("training", inputs, [adapter, run.folder / layout.TRAINING]):
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
    """Return the rows of earlier periods and of this one, training rows repeated as `adapt` repeats them."""
    from compass.training.balance import repeated

    rows = repeated(selected.data.train, history_repeats(config, selected.data.train))
    old = [row for row in rows if row.period <= version.period]
    return old, [*selected.examples, *(row for row in rows if row.period > version.period)]


def _known_answers(resources: Resources, version: Version) -> dict[str, Path]:
    """Return what the parent's run measured, by model (`base`, `adapter`), as far as it would come out the same now."""
    config, base = resources.config, resources.base
    before = read_stored(version.folder / layout.CONFIG)
    model = version.lock["model"]
    same = (
        base.is_same(model["name"], model["revision"])
        and version.lock["versions"] == versions()
        and precision(before) == precision(config)
        and before.evaluation.max_new_tokens == config.evaluation.max_new_tokens
    )
    folders = {
        "base": version.folder / layout.BASE_EVALUATION,
        "adapter": version.folder / layout.ADAPTER_EVALUATION,
    }
    return {name: folder for name, folder in folders.items() if same and folder.is_dir()}


def _compared(run: Run, before: Mapping[str, Evaluation], after: Mapping[str, Evaluation]) -> tuple[Difference, ...]:
    found = [difference for name in after for difference in compare(before[name], after[name])]
    write_differences(found, run.path(layout.PARENT_DIFFERENCES))
    return tuple(found)


def _command(version: Version, new: NewData, config: AdaptConfig, options: UpdateConfig) -> str:
    """Return the command line of an update: what it was given, and each option that it would not have without."""
    given = {
        "--new-data": [_named(new.train, "ROWS")],
        "--new-test": [_named(new.test, "ROWS")],
        "--new-pool": new.pool,
        "--output-dir": [config.run.output_dir],
    }
    flags = [part for flag, values in given.items() for value in values for part in (flag, value) if value]
    now = UpdateOptions(adapt=config, update=options)
    before = UpdateOptions(adapt=load_parent(version.folder / layout.CONFIG), update=UpdateConfig())
    own = ("output_dir", "usage", "test", *OF_THE_PARENT)
    window = _named(new.window, "WINDOW")
    if config.encoder.is_endpoint:
        # The parent's folder names it, and may not by itself.
        flags += ["--allow-endpoint", config.encoder.encoder]
    return shlex.join(
        ["compass", "update", str(version.folder), window, *flags, *changed_flags(now, before, leaving_out=own)]
    )


def _write_parent(run: Run, options: UpdateConfig, version: Version, command: str) -> None:
    """Add to the lock what the update was made from."""
    file = run.path(layout.LOCK)
    lock = read_json(file)
    lock["parent"] = {
        "folder": str(version.folder.resolve()),
        "lock": file_hash(version.folder / layout.LOCK),
        "adapter": version.weights_hash,
    }
    lock["update"] = {"period": version.period + 1, **asdict(options)}
    if (run.folder / layout.FISHER).is_file():
        lock["hashes"][layout.FISHER] = file_hash(run.folder / layout.FISHER)
    lock["command"] = command
    write_json(file, lock)
