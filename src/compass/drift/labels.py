"""Which kept prompts a person should answer when usage has drifted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compass.drift.monitor import Monitor
from compass.drift.reference import place
from compass.drift.results import MIX
from compass.selection import choose_to_label
from compass.semantic.arrays import FloatArray

PROMPTS_NAMED = 5
"""Prompts that an event names; `compass label --kept` lists more."""
PROMPTS_NOTED = 24
"""Prompts that are noted in the database, for the dashboard."""
KEPT_LOOKED_AT = 300
"""Newest kept prompts among which they are chosen: they are encoded while the monitor waits."""


def label_next(watching: Monitor, encode: Callable[[Sequence[str]], FloatArray], stream: str) -> list[dict[str, Any]]:
    """Return the kept prompts of a language whose answers would cover most of what its reference does not have.

    Each with `prompt` and `stands_for`, kept prompts that it stands for; nothing where none is kept. More of them are
    noted in the monitor's database.
    """
    kept = [] if stream == MIX else watching.kept_prompts(stream, most=KEPT_LOOKED_AT)
    if not kept:
        return []
    reference = watching.reference
    vectors, _, _ = place(reference.space, encode([row.text for row in kept]), [stream] * len(kept))
    none = np.empty((0, vectors.shape[1]), dtype=np.float32)
    noted = choose_to_label(vectors, reference.languages[stream].vectors, none, PROMPTS_NOTED)
    watching.suggest(
        stream, {kept[row].text: n for row, n in zip(noted.rows.tolist(), noted.stands_for.tolist(), strict=True)}
    )
    found = choose_to_label(vectors, reference.languages[stream].vectors, none, PROMPTS_NAMED)
    return [
        {"prompt": kept[row].text, "stands_for": n}
        for row, n in zip(found.rows.tolist(), found.stands_for.tolist(), strict=True)
    ]
