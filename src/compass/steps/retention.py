"""What an update keeps of an adapter's history: the anchors that it replays, and the weights that it holds on to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from compass.config import UPDATE_METHODS, AdaptConfig, UpdateConfig
from compass.data.example import Example
from compass.data.readers import read_jsonl, write_jsonl
from compass.runs import layout
from compass.runs.files import file_hash, fingerprint, write_json
from compass.runs.folder import Run
from compass.semantic.arrays import IntArray
from compass.steps.history import TRAIN, Version
from compass.steps.resources import Resources
from compass.steps.state import Selected

if TYPE_CHECKING:
    from compass.training import Fisher


def draw_anchors(
    run: Run, config: AdaptConfig, options: UpdateConfig, version: Version, rows: Sequence[Example], clusters: IntArray
) -> list[Example]:
    """Draw what of the history is replayed, as often as it was trained on; nothing for a method without replay.

    rows: the history and what is new in the training data; clusters: (n,) of these rows.
    """
    from compass.training.retention import anchors as retention

    method = UPDATE_METHODS[options.method]
    if not method.replay:
        return []
    # Rows of a rare class were repeated in training, and would all but fade otherwise.
    old = [
        i
        for i, (row, times) in enumerate(zip(rows, history_repeats(config, rows), strict=True))
        if row.period <= version.period
        for _ in range(times)
    ]
    history, clusters = [rows[i] for i in old], clusters[old]
    rule = "random" if method.replay == "random" else "clusters"
    file = run.path(layout.ANCHOR_ROWS)
    inputs = {
        "rule": [rule, options.anchor_share, options.min_anchors, options.max_anchors, config.run.seed],
        "history": fingerprint({"rows": [row.to_dict() for row in history]}),
        "clusters": clusters.tolist(),
    }
    if run.finished("anchors", inputs):
        run.skip("anchors")
        return read_jsonl(file)
    with run.stage("anchors", inputs, [file.parent]):
        drawn = retention.draw_anchors(
            clusters,
            periods=[row.period for row in history],
            share=options.anchor_share,
            least=options.min_anchors,
            most=options.max_anchors,
            rule=rule,
            seed=config.run.seed,
        )
        anchors = [history[i] for i in drawn.indices]
        write_jsonl(file, anchors)
        by_period = {str(period): {"rows": had, "anchors": n} for period, (had, n) in drawn.by_period.items()}
        write_json(run.path(layout.ANCHOR_SUMMARY), {"rule": rule, "wanted": drawn.wanted, "periods": by_period})
    return anchors


def parent_fisher(run: Run, resources: Resources, options: UpdateConfig, version: Version) -> Fisher | None:
    """Load the parent's Fisher information, or measure it: a run without a penalty keeps none."""
    from compass.training import Fisher, adapter_fisher

    config = resources.config
    if not UPDATE_METHODS[options.method].penalty:
        return None
    stored = version.folder / layout.FISHER
    if stored.is_file():
        return Fisher.load(stored)
    rows = _sample(version.history, options.fisher_rows, config.run.seed)
    file = run.path(layout.PARENT_FISHER)
    inputs = {"adapter": version.weights_hash, "rows": fingerprint({"rows": [row.to_dict() for row in rows]})}
    if run.finished("fisher-parent", inputs):
        run.skip("fisher-parent")
        return Fisher.load(file)
    with run.stage("fisher-parent", inputs, [file]):
        fisher = adapter_fisher(rows, base=resources.base, adapter=version.adapter, config=config.training)
        fisher.save(file)
    return fisher


def keep_fisher(
    run: Run, resources: Resources, options: UpdateConfig, version: Version, selected: Selected, parent: Fisher | None
) -> None:
    """Keep the new version's Fisher information, where the method has a penalty: the parent's and what is new."""
    from compass.training import accumulate, adapter_fisher

    config, file = resources.config, run.folder / layout.FISHER
    if not UPDATE_METHODS[options.method].penalty:
        file.unlink(missing_ok=True)
        run.forget("fisher")
        return
    oldest = version.period + 1 if parent else 0
    new = [row for row in selected.data.train if row.period >= oldest]
    rows = _sample([*new, *selected.examples], options.fisher_rows, config.run.seed)
    adapter = run.folder / layout.ADAPTER
    inputs = {
        "adapter": file_hash(run.folder / layout.ADAPTER_WEIGHTS),
        "rows": fingerprint({"rows": [row.to_dict() for row in rows]}),
        "parent": version.weights_hash,
    }
    if run.finished("fisher", inputs):
        run.skip("fisher")
        return
    with run.stage("fisher", inputs, [file]):
        fisher = adapter_fisher(rows, base=resources.base, adapter=adapter, config=config.training)
        if parent:
            fisher = accumulate(parent, fisher)
        fisher.save(file)


def history_repeats(config: AdaptConfig, rows: Sequence[Example]) -> list[int]:
    """Return how often an epoch sees each row of a history: training rows as `adapt` repeats them, picks once."""
    from compass.training.balance import class_repeats

    own = [row for row in rows if row.role == TRAIN]
    times = iter(class_repeats(own, config.training.class_balance))
    return [next(times) if row.role == TRAIN else 1 for row in rows]


def _sample(rows: Sequence[Example], most: int, seed: int) -> list[Example]:
    with_response = [row for row in rows if row.response]
    chosen = np.random.default_rng(seed).permutation(len(with_response))[:most]
    return [with_response[i] for i in np.sort(chosen)]
