"""Cells of earlier comparisons in the same folder: which of them this one can be shown with, and why others can't."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from compass.config import AdaptConfig, CompareConfig, read_stored
from compass.data.languages import normalize_tag
from compass.errors import CompassError
from compass.recipes.grid import cell_identity, cell_payload, cells_home, draw_config
from compass.records import LeftOut
from compass.runs import layout
from compass.runs.files import read_json
from compass.runs.folder import Run
from compass.steps.comparison import Cell
from compass.steps.read import filled_in, source_identities
from compass.steps.resources import folder_contents, start_adapter

MOST_OPTIONS = 3
"""Options that are named where a cell has others, at most."""


def earlier_cells(config: CompareConfig, cells: Sequence[Cell]) -> tuple[list[Cell], list[LeftOut]]:
    """Find what else `output_dir` holds: finished cells that may stand beside `cells`, and the others with a reason.

    A cell may stand beside them if nothing but strategy, budget, language and seed differs: the same options, the same
    files, and the same optimiser steps as others of its budget. Nothing is run, and nothing is changed.
    """
    home = cells_home(config)
    known = {cell.folder.name for cell in cells}
    same = {(cell.language, cell.seed, cell.budget, cell.folder.name[-10:]) for cell in cells}
    steps = {(cell.language, cell.seed, cell.budget): cell.config.training.max_steps for cell in cells}
    found: list[Cell] = []
    left_out: list[LeftOut] = []

    @cache
    def files(language: str, seed: int) -> tuple[dict[str, str], dict[str, str]]:
        draw = draw_config(config, language, seed)
        return source_identities(filled_in(draw.data, seed)), start_adapter(draw) | folder_contents(draw)

    for folder in sorted(home.iterdir()) if home.is_dir() else ():
        if not folder.is_dir() or folder.name in known:
            continue
        try:
            cell = _read(config, folder)
            place = (cell.language, cell.seed, cell.budget)
            if (*place, folder.name[-10:]) in same:
                continue  # the same strategy in another spelling
            sources, others = files(cell.language, cell.seed)
            reason = _other_options(cell, folder) or _other_files(cell, folder, sources, others)
        except (CompassError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            left_out.append(LeftOut(folder.name, _one_line(error)))
            continue
        taken = steps.setdefault(place, cell.config.training.max_steps) if not reason else 0
        if not reason and taken != cell.config.training.max_steps:
            reason = f"it has {cell.config.training.max_steps} optimiser steps, others of its budget {taken}"
        if reason:
            left_out.append(LeftOut(folder.name, reason))
        else:
            found.append(cell)
    return found, left_out


def _read(config: CompareConfig, folder: Path) -> Cell:
    """Return a cell with the options that it would have in this comparison. Raises what `earlier_cells` gathers."""
    record = folder / layout.CELL
    if not record.is_file():
        raise ValueError("it was not finished. Give its command again to go on")
    said = read_json(record)
    stored = read_stored(folder / layout.CONFIG)
    language, seed = normalize_tag(str(said["language"])), int(said["seed"])
    strategy, budget = str(said["strategy"]), int(said["budget"])
    draw = draw_config(config, language, seed)
    own = dataclasses.replace(
        draw,
        selection=dataclasses.replace(draw.selection, strategy=strategy, budget=budget),
        training=dataclasses.replace(draw.training, max_steps=stored.training.max_steps),
        run=dataclasses.replace(draw.run, output_dir=str(folder)),
    )
    return Cell(strategy, budget, language, seed, folder, own)


def _other_options(cell: Cell, folder: Path) -> str:
    """Say which options a cell was made with that this comparison does not have; nothing if there are none."""
    there, here = (dict(_leaves(_plain(config))) for config in (read_stored(folder / layout.CONFIG), cell.config))
    names = [name for name in dict.fromkeys((*there, *here)) if there.get(name) != here.get(name)]
    if not names:
        return ""
    told = [
        f"{name.rpartition('.')[2]} was {_said(there.get(name))}, here {_said(here.get(name))}"
        for name in names[:MOST_OPTIONS]
    ]
    more = len(names) - len(told)
    return f"it has other options: {'; '.join(told)}" + (f"; and {more} more" if more else "")


def _other_files(cell: Cell, folder: Path, sources: Mapping[str, str], others: Mapping[str, str]) -> str:
    """Say whether a cell read other files than this comparison has under the same names; nothing if it did not."""
    if cell_identity(cell.config, {**sources, **others}).startswith(folder.name[-10:]):
        return ""
    changed = Run(folder).changed("data", {"sources": sources})
    if changed is None:
        return "its data is gone or cut. Delete the folder and give its command again"
    if "sources" in changed:
        return "it was made from other data: files have changed since under the same names"
    # Cells of version 0.1 are known by another hash; they have no model, adapter or strategy of a folder in theirs.
    return "a model, adapter or file that it was made with has changed since" if others else ""


def _plain(config: AdaptConfig) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(json.dumps(cell_payload(config)))
    return content


def _said(value: Any) -> str:
    return "nothing" if value in (None, "", [], {}) else str(value)


def _leaves(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    known = isinstance(error, CompassError | ValueError)
    return text if known else f"it can't be read ({type(error).__name__}: {text})"
