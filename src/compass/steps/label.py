"""Which usage prompts a person should answer first: what the report lists and `compass label` writes."""

from __future__ import annotations

from typing import Any

import numpy as np

from compass.config import SelectionConfig
from compass.data.label_list import LabelList, LabelPrompt
from compass.data.stored_rows import column
from compass.runs import layout
from compass.runs.files import file_hash, read_json, write_json
from compass.runs.folder import Run
from compass.selection import ToLabel, choose_to_label
from compass.steps.resources import Resources
from compass.steps.state import Placed
from compass.steps.stored_data import data_hashes

PROMPTS_LISTED = 24
"""Prompts in the list of a run whose user asked for none: about an hour of somebody's time [ours]."""


def find_labels(placed: Placed, n: int, *, options: SelectionConfig, seed: int) -> LabelList:
    """Find the n usage prompts whose answers cover most of what training data and pool do not serve.

    Rows without a response are offered; where all have one, all are.
    """
    data, vectors, space = placed.data, placed.vectors, placed.space
    usage, train, pool = (
        space.transform(x if len(x) else np.reshape(x, (-1, space.dimensions)), column(rows, "language"))
        for x, rows in ((vectors.usage, data.usage), (vectors.train, data.train), (vectors.pool, data.pool))
    )
    unanswered = np.array([not row.response.strip() for row in data.usage], dtype=bool)
    offered = unanswered if unanswered.any() else np.ones(len(unanswered), dtype=bool)
    found = choose_to_label(
        usage, train, pool, n, offered=offered, duplicate_similarity=options.duplicate_similarity, seed=seed
    )
    clusters = space.assign_transformed(usage[found.rows]) if len(found.rows) else np.empty(0, dtype=np.int64)
    prompts = tuple(
        LabelPrompt(
            id=data.usage[row].id,
            prompt=data.usage[row].prompt,
            language=data.usage[row].language,
            stands_for=int(found.stands_for[place]),
            served=float(found.served[place]),
            covered=float(found.coverage[place + 1]),
            cluster=int(clusters[place]),
            reason=found.reasons[place],
            context=data.usage[row].context,
        )
        for place, row in enumerate(found.rows.tolist())
    )
    return LabelList(
        prompts=prompts,
        covered_before=float(found.coverage[0]),
        worthwhile=found.worthwhile,
        asked_for=n,
        usage=len(data.usage),
        notes=_notes(found, n_answered=int((~unanswered).sum()), n_usage=len(unanswered)),
    )


def keep_labels(run: Run, resources: Resources, placed: Placed, n: int) -> LabelList:
    """Find the list and keep it in the run folder, for the report; read it back if it was made of the same inputs."""
    inputs = _inputs(run, resources, n)
    if run.finished("label", inputs):
        run.skip("label")
        return LabelList.from_dict(read_json(run.folder / layout.LABEL_LIST))
    config = resources.config
    # Files that somebody writes answers into may stand beside the list: they are no part of the stage.
    with run.stage("label", inputs, [run.folder / layout.LABEL_LIST]):
        found = find_labels(placed, n, options=config.selection, seed=config.run.seed)
        write_json(run.path(layout.LABEL_LIST), found.to_dict())
    return found


def suggest_labels(run: Run, resources: Resources, placed: Placed) -> None:
    """Keep a list that nobody asked for, unless one of any length was made of the same data."""
    changed = run.changed("label", _inputs(run, resources, PROMPTS_LISTED))
    if changed is None or changed - {"n"}:
        keep_labels(run, resources, placed, PROMPTS_LISTED)
    else:
        run.skip("label")


def _inputs(run: Run, resources: Resources, n: int) -> dict[str, Any]:
    return {
        "space": file_hash(run.folder / layout.SPACE_WEIGHTS),
        "data": data_hashes(run),
        "duplicate_similarity": resources.config.selection.duplicate_similarity,
        "seed": resources.config.run.seed,
        "n": n,
    }


def _notes(found: ToLabel, *, n_answered: int, n_usage: int) -> tuple[str, ...]:
    notes = []
    if n_answered == n_usage and n_usage:
        notes.append("Every usage prompt has a response already; these are the ones that a person would answer first.")
    elif n_answered:
        notes.append(f"{n_answered} of {n_usage} usage prompts have a response already and are not listed.")
    if found.shortfall:
        listed = len(found.rows)
        notes.append(
            f"Only {listed} of the {listed + found.shortfall} prompts asked for are listed: the others repeat a listed "
            "prompt or a training row, or nothing is left to cover."
        )
    if found.sampled < found.distinct:
        notes.append(f"The list is made from a sample of {found.sampled} of {found.distinct} distinct usage prompts.")
    return tuple(notes)
