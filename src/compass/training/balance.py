"""Kinds of answer, and how often each row of the data at hand is seen in an epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.evaluation import parse_call
from compass.semantic.arrays import IntArray

SHORT_ANSWER = 20
"""Characters up to which an answer that is no function call counts as a class label."""
LABEL_ROWS = 10
"""Rows from which a longer answer counts as one too: free text does not repeat itself."""

ROWS_OF_A_CLASS = 2
"""Mean rows of a short answer from which short answers count as classes that training balances."""


def answer_kind(response: str) -> str:
    """Return the function that a response calls, a short response itself, and nothing for free text."""
    call = parse_call(response)
    if call is not None:
        return call.intent
    text = response.strip()
    return text.casefold() if len(text) <= SHORT_ANSWER else ""


def full_name(response: str) -> str:
    """Return the name of the kind of an answer that is known to be of one: as `answer_kind`, or the answer itself."""
    return answer_kind(response) or response.strip().casefold()


def name_answers(*parts: Sequence[Example]) -> tuple[list[str], ...]:
    """Name the kind of each row's answer in several sets: as `answer_kind` does, and longer answers that recur."""
    kinds = tuple([answer_kind(row.response) for row in rows] for rows in parts)
    texts = tuple([row.response.strip().casefold() for row in rows] for rows in parts)
    longer = Counter(
        text
        for names, own in zip(kinds, texts, strict=True)
        for name, text in zip(names, own, strict=True)
        if text and not name
    )
    return tuple(
        [name or (text if longer[text] >= LABEL_ROWS else "") for name, text in zip(names, own, strict=True)]
        for names, own in zip(kinds, texts, strict=True)
    )


def number_answers(*parts: Sequence[Example]) -> tuple[IntArray, ...]:
    """Number the kinds of answer in several sets alike. Returns (n,) ints for each set, -1 for an answer of no kind."""
    kinds = name_answers(*parts)
    numbers = {kind: i for i, kind in enumerate(sorted({kind for part in kinds for kind in part} - {""}))}
    return tuple(np.array([numbers.get(kind, -1) for kind in part], dtype=np.int64) for part in kinds)


def repeats_in_training(rows: Sequence[Example], training: TrainingConfig) -> list[int]:
    """Return how often each row of the data at hand is seen for each time that a pick is: balance times weight."""
    return [times * training.current_weight for times in repeats_by_answer(rows, training.answer_balance)]


def repeats_by_answer(rows: Sequence[Example], most: int) -> list[int]:
    """Return how often each row is seen in an epoch, at least once and at most `most` times [ours].

    Every kind of answer is seen about as often as the commonest one; free text has no kind and is seen once, and so are
    short answers that are no classes (numbers, names): those of which there are fewer than two rows each. A small
    model whose data at hand has ten rows of one function and two of another learns to answer in the target language
    with the first, whatever it is asked (LOG.md); inverse frequency is the usual remedy (class-balanced sampling).
    """
    kinds = [answer_kind(row.response) for row in rows]
    short = [kind for row, kind in zip(rows, kinds, strict=True) if kind and parse_call(row.response) is None]
    if len(short) < ROWS_OF_A_CLASS * len(answers := set(short)):
        kinds = ["" if kind in answers else kind for kind in kinds]
    counts = Counter(kind for kind in kinds if kind)
    commonest = max(counts.values(), default=1)
    return [max(1, min(most, round(commonest / counts[kind]))) if kind else 1 for kind in kinds]
