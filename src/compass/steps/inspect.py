"""How sources are understood: shape, columns, languages, what becomes of each row. For `inspect` and `--dry-run`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from compass.config import DataConfig
from compass.data.assist import parse_assist
from compass.data.cleaning import Cleaned, clean, with_left_out
from compass.data.example import Dropped, Example
from compass.data.readers import NoUsableRowError, SourceAccount, read_examples
from compass.errors import DataError
from compass.steps.read import Sources, columns_of, fill_in
from compass.steps.stored_data import option_of

logger = logging.getLogger(__name__)

Row = TypeVar("Row", Example, Dropped)

KEPT = "kept"
POOL, USAGE = "pool", "usage"
MOST_MEASURED = 10_000
"""Rows of a source whose tokens are counted; of more, every so many."""


@dataclass(frozen=True)
class Outcome:
    """Rows of a source with which the same is done."""

    name: str
    """`kept`, or why they are dropped."""
    rows: int
    first: str
    """Place of the first of them."""


@dataclass(frozen=True)
class Lengths:
    """Lengths of rows, prompt and response together."""

    unit: str
    """`tokens`, or `words` where there is no tokenizer."""
    measured: int
    """Rows that were measured."""
    median: int
    p95: int
    longest: int
    max_length: int = 0
    """Tokens above which a row is left out of training; 0 where that is not known."""
    too_long: int = 0
    """Measured rows above it."""
    first_too_long: str = ""
    """Place of the first of them."""


@dataclass(frozen=True)
class Inspected:
    """One source."""

    source: str
    read_as: str
    """The set whose rules of cleaning apply."""
    shape: str
    rows: int
    used: Mapping[str, str]
    """Columns that were used -> what for."""
    unused: tuple[str, ...]
    languages: Mapping[str, int]
    """Tag -> rows."""
    roles: Mapping[str, int]
    """Role -> turns."""
    outcomes: tuple[Outcome, ...]
    lengths: Lengths | None = None

    @property
    def usable(self) -> bool:
        """Whether a row is kept."""
        return any(outcome.name == KEPT and outcome.rows for outcome in self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


def inspect(source: str, config: DataConfig, *, tokenizer: Any | None = None, max_length: int = 0) -> Inspected:
    """Read and clean one source by itself, as a pool, or as usage if no row has a response.

    tokenizer: counts tokens in place of words. Raises DataError for a source that can't be read.
    """
    if parse_assist(source):
        raise DataError(f"{source} is a data set in a package, which has no file. Its rows need no look.")
    accounts: list[SourceAccount] = []
    columns = columns_of(config, "pool")
    path = fill_in(source, language=config.language)
    try:
        rows = read_examples(path, columns=columns, streaming=config.streaming, accounts=accounts)
    except NoUsableRowError as error:
        # What became of its rows is what was asked for.
        logger.warning("%s", error)
        rows = []
    answered = any(row.response.strip() for row in rows)
    cleaned = clean(
        rows,
        max_chars=config.max_chars,
        duplicates=answered,
        near_duplicates=config.near_duplicates if answered else 1.0,
        check_language=answered and config.identify_languages,
        languages=[config.language] if config.language else (),
        require_response=answered,
        name=source,
    )
    (account,) = accounts
    cleaned = with_left_out(cleaned, account.dropped)
    lengths = measured(cleaned.examples, tokenizer, max_length)
    return _inspected(POOL if answered else USAGE, account, cleaned.examples, cleaned.dropped, rows, lengths)


def inspect_sets(sources: Sources, cleaned: Mapping[str, Cleaned], language: str) -> list[Inspected]:
    """Return how each source of a run was understood, after it was read and cleaned."""
    found = []
    everything = {"usage": sources.usage, "current": sources.train, "pool": sources.pool}
    everything |= {f"test {name}": rows for name, rows in sources.tests.items()}
    for name, accounts in sources.accounts.items():
        parts = [cleaned[name]] if name in cleaned else []
        own_test = f"test {language}"
        if name == USAGE and own_test not in sources.accounts and own_test in cleaned:
            # Half of usage is held out.
            parts.append(cleaned[own_test])
        for account in accounts:
            kept = _of(account, (row for part in parts for row in part.examples))
            dropped = _of(account, (row for part in parts for row in part.dropped))
            read = _of(account, everything.get(name, ()))
            found.append(_inspected(option_of(name), account, kept, dropped, read, None))
    return found


def measured(rows: Sequence[Example], tokenizer: Any | None, max_length: int) -> Lengths | None:
    """Measure rows, of many every so many; None for none. Raises DataError for turns that the tokenizer refuses."""
    rows = rows[:: -(-len(rows) // MOST_MEASURED) or 1]
    if not rows:
        return None
    if tokenizer is None:
        sizes = [len(f"{row.prompt} {row.response}".split()) for row in rows]
    else:
        from compass.training import token_counts

        sizes = token_counts(tokenizer, rows)
    median, p95 = (int(value) for value in np.percentile(sizes, (50, 95), method="higher"))
    unit = "words" if tokenizer is None else "tokens"
    limit = max_length if tokenizer is not None else 0
    over = [row.place for row, size in zip(rows, sizes, strict=True) if limit and size > limit]
    return Lengths(unit, len(rows), median, p95, max(sizes), limit, len(over), over[0] if over else "")


def _of(account: SourceAccount, rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.place.startswith(f"{account.name}, ")]


def _inspected(
    read_as: str,
    account: SourceAccount,
    kept: Sequence[Example],
    dropped: Sequence[Dropped],
    rows: Sequence[Example],
    lengths: Lengths | None,
) -> Inspected:
    places: dict[str, list[str]] = {KEPT: [row.place for row in kept]}
    for row in dropped:
        places.setdefault(row.reason, []).append(row.place)
    outcomes = tuple(Outcome(name, len(of), _in_source(account, of[0])) for name, of in places.items() if of)
    roles = Counter({"user": len(rows), "assistant": sum(bool(row.response.strip()) for row in rows)})
    roles.update(turn.role for row in rows for turn in row.context)
    return Inspected(
        source=account.name,
        read_as=read_as,
        shape=account.shape.name,
        rows=account.rows,
        used=account.uses,
        unused=tuple(account.unused),
        languages=dict(Counter(row.language for row in rows).most_common()),
        roles={role: n for role, n in roles.most_common() if n},
        outcomes=outcomes,
        lengths=lengths,
    )


def _in_source(account: SourceAccount, place: str) -> str:
    return place.removeprefix(f"{account.name}, ")
