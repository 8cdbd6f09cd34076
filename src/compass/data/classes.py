"""Classes of responses: the function that a response calls, a short response itself; free text has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from compass.data.calls import intent_of
from compass.data.example import Example
from compass.data.stored_rows import column

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SHORT_RESPONSE = 20
"""Characters up to which a response that is no function call counts as a class label."""
LABEL_ROWS = 10
"""Rows from which a longer response counts as one too: free text does not repeat itself."""


def class_of(response: str) -> str:
    """Return the function that a response calls, a short response itself, and nothing for free text."""
    intent = intent_of(response)
    if intent is not None:
        return intent
    text = response.strip()
    return text.casefold() if len(text) <= SHORT_RESPONSE else ""


def class_name(response: str) -> str:
    """Return the name of the class of a response that is known to have one: as `class_of`, or the response itself."""
    return class_of(response) or response.strip().casefold()


def name_classes(*parts: Sequence[Example]) -> tuple[list[str], ...]:
    """Name the class of each row's response in several sets: as `class_of` does, and longer responses that recur."""
    classes = tuple([class_of(response) for response in column(rows, "response")] for rows in parts)
    texts = tuple([response.strip().casefold() for response in column(rows, "response")] for rows in parts)
    longer = Counter(
        text
        for names, own in zip(classes, texts, strict=True)
        for name, text in zip(names, own, strict=True)
        if text and not name
    )
    return tuple(
        [name or (text if longer[text] >= LABEL_ROWS else "") for name, text in zip(names, own, strict=True)]
        for names, own in zip(classes, texts, strict=True)
    )


def number_classes(*parts: Sequence[Example]) -> tuple[npt.NDArray[np.int64], ...]:
    """Number the classes of several sets alike. Returns (n,) ints for each set, -1 for a response without a class."""
    import numpy as np

    classes = name_classes(*parts)
    numbers = {name: i for i, name in enumerate(sorted({name for part in classes for name in part} - {""}))}
    return tuple(np.array([numbers.get(name, -1) for name in part], dtype=np.int64) for part in classes)
