"""How often each training row is seen in an epoch, so that no class drowns the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from compass.data.calls import parse_call
from compass.data.classes import class_of
from compass.data.example import Example

ROWS_OF_A_CLASS = 2
"""Mean rows of a short response from which short responses count as classes that training balances."""


def class_repeats(rows: Sequence[Example], most: int) -> list[int]:
    """Return how often each row is seen in an epoch, at least once and at most `most` times [ours].

    Every class is seen about as often as the commonest one. Free text has no class and is seen once, and so are short
    responses that are no classes (numbers, names): those of which there are fewer than two rows each. A small model
    whose training data has ten rows of one function and two of another learns to answer in the target language with
    the first, whatever it is asked (LOG.md); inverse frequency is the usual remedy (class-balanced sampling).
    """
    classes = [class_of(row.response) for row in rows]
    short = [name for row, name in zip(rows, classes, strict=True) if name and parse_call(row.response) is None]
    if len(short) < ROWS_OF_A_CLASS * len(distinct := set(short)):
        classes = ["" if name in distinct else name for name in classes]
    counts = Counter(name for name in classes if name)
    commonest = max(counts.values(), default=1)
    return [max(1, min(most, round(commonest / counts[name]))) if name else 1 for name in classes]


def repeated(rows: Sequence[Example], repeats: Sequence[int]) -> list[Example]:
    """Return each row as often as its number of repeats says, in order."""
    return [row for row, times in zip(rows, repeats, strict=True) for _ in range(times)]
