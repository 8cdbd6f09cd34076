"""What the model's tokenizer makes of the rows, asked right after reading: turns that are refused, rows too long."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compass.data.example import Dropped, Example
from compass.data.stored_rows import without as rows_without
from compass.errors import DataError, RunError
from compass.reuse import reused
from compass.runs import layout
from compass.runs.files import read_json, read_jsonl, write_json, write_jsonl
from compass.runs.folder import Run
from compass.steps.lock import is_trained_on_its_picks
from compass.steps.resources import Resources
from compass.steps.state import RunData
from compass.steps.stored_data import data_hashes, option_of

logger = logging.getLogger(__name__)

SETS = {"current": "the training data", "pool": "the pool"}
"""What training may see, by its name in files, and as messages call it."""
FILES = {"current": layout.TRAIN, "pool": layout.POOL}
TOO_LONG = "longer than max_length"
"""Why these rows are left out, in the list of all that are."""


@dataclass(frozen=True)
class TooLong:
    """Rows of one set that are longer than `max_length`, and so are left out."""

    rows: int
    """Rows of the set."""
    places: tuple[int, ...]
    """Where these rows stand in the set, from 0."""
    ids: tuple[str, ...]
    """Their ids, for people."""


def keep_fitting(run: Run, resources: Resources, data: RunData) -> RunData:
    """Leave out the rows of training data and pool that are longer than `max_length`; how many is logged and kept.

    Raises DataError if the model's chat template refuses rows, of the tests too.
    """
    training, file = resources.config.training, run.path(layout.LENGTHS)
    stored = stored_lengths(run)
    if not stored and is_trained_on_its_picks(run.folder):
        # Version 0.1 cut long rows. What it finished stays.
        return data
    base = resources.base
    inputs = {"data": data_hashes(run), "model": [base.name, base.revision], "max_length": training.max_length}
    if stored.get("inputs") == inputs:
        found = _read(stored)
        _list(run, data, found, training.max_length)
        return without(data, found)
    found = measure(resources.tokenizer, data, training.max_length)
    _list(run, data, found, training.max_length)
    write_json(file, {"inputs": inputs, "sets": {name: dataclasses.asdict(of_set) for name, of_set in found.items()}})
    return without(data, found)


def keep_measured(run: Run, data: RunData) -> RunData:
    """Leave out what an earlier command found to be too long, of the same data; for a command without a model."""
    stored = stored_lengths(run)
    same = stored.get("inputs", {}).get("data") == data_hashes(run)
    return without(data, _read(stored)) if same else data


def measure(tokenizer: Any, data: RunData, max_length: int) -> dict[str, TooLong]:
    """Return the rows that are longer than `max_length`, by set. Raises DataError for rows that are refused."""
    for name, held_out in data.tests.items():
        check_rows(tokenizer, f"test {name}", held_out)
    found = {}
    for name, rows in (("current", data.train), ("pool", data.pool)):
        lengths = check_rows(tokenizer, SETS[name], rows)
        places = tuple(i for i, length in enumerate(lengths) if length > max_length)
        found[name] = TooLong(len(rows), places, tuple(rows[i].id for i in places))
        if places:
            logger.warning(
                "%d of %d rows of %s are longer than max_length, %d tokens, and are left out; the first is %s (%s)",
                len(places), len(rows), SETS[name], max_length, rows[places[0]].id, layout.DROPPED,
            )  # fmt: skip
    if data.pool and len(found["pool"].places) == len(data.pool):
        raise DataError(
            f"No row of the pool fits into max_length, {max_length} tokens. Raise --max-length, or give shorter rows."
        )
    return found


@reused
def check_rows(tokenizer: Any, name: str, rows: Sequence[Example]) -> list[int]:
    """Return the tokens of each row. Raises DataError that counts the rows that the chat template refuses."""
    from compass.training import encode_example

    lengths, refused, first = [], 0, ""
    for row in rows:
        try:
            lengths.append(len(encode_example(tokenizer, row)))
        except DataError as error:
            refused += 1
            first = first or f"{error} ({row.place or row.source or name})"
    if refused:
        raise DataError(f"{refused} of {len(rows)} rows of {name} can't be put to the model. {first}")
    return lengths


def dropped_as_too_long(rows: Sequence[Example], lengths: Sequence[int], max_length: int) -> list[Dropped]:
    """Return what is to be said of the rows that training leaves out because of their length."""
    pairs = zip(rows, lengths, strict=True)
    return [too_long(row, max_length) for row, length in pairs if length > max_length]


def too_long(row: Example, max_length: int, place: str = "") -> Dropped:
    """Return what is to be said of a row that is left out because of its length; place: where its own is not known."""
    return Dropped(row.id, TOO_LONG, f"at most {max_length} tokens", row.place or place)


def without(data: RunData, found: Mapping[str, TooLong]) -> RunData:
    """Return a run's data without rows that are too long."""

    train, pool = (
        rows_without(rows, set(found[name].places)) for name, rows in (("current", data.train), ("pool", data.pool))
    )
    return dataclasses.replace(data, train=tuple(train), pool=pool)


def _list(run: Run, data: RunData, found: Mapping[str, TooLong], max_length: int) -> None:
    """See that the run's list of rows that were left out has these, each with its place."""
    file = run.path(layout.DROPPED)
    listed = read_jsonl(file) if file.is_file() else []
    others = [row for row in listed if row.get("reason") != TOO_LONG]
    # The place in the source is known only to the command that read it.
    new = [
        {"set": option_of(name), **too_long(rows[i], max_length, f"{FILES[name]}, line {i + 1}").to_dict()}
        for name, rows in (("current", data.train), ("pool", data.pool))
        for i in found[name].places
    ]

    def told(row: Mapping[str, Any]) -> tuple[Any, ...]:
        # Lists of earlier versions write `current`.
        return option_of(str(row.get("set"))), row.get("id"), row.get("detail")

    if [told(row) for row in listed if row.get("reason") == TOO_LONG] == [told(row) for row in new]:
        return
    write_jsonl(file, [*others, *new])
    run.rewritten("data", file)


def stored_lengths(run: Run) -> dict[str, Any]:
    """Return what was measured in a run folder; empty where nothing was, or it can't be read."""
    file = run.folder / layout.LENGTHS
    if not file.is_file():
        return {}
    try:
        stored = read_json(file, dict)
        _read(stored)
    except (RunError, AttributeError, LookupError, TypeError, ValueError):
        logger.warning("%s can't be read: the rows are measured again", file)
        return {}
    return dict(stored)


def _read(stored: Mapping[str, Any]) -> dict[str, TooLong]:
    sets = {name: stored["sets"][name] for name in SETS}
    return {name: TooLong(int(s["rows"]), tuple(map(int, s["places"])), tuple(s["ids"])) for name, s in sets.items()}
