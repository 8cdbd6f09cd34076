"""Which prompts are kept for the next update, and in what form."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compass.data.redaction import redact
from compass.drift.protocol import Prompts
from compass.drift.state import NewPrompt
from compass.errors import MissingExtraError
from compass.semantic.arrays import RealArray

logger = logging.getLogger(__name__)

MODES_ALLOWED = {"off": (), "redacted": ("redacted",), "full": ("full", "redacted")}
"""Option `reservoir` -> forms of prompts that may be stored."""
SEED_NUMBER = 5
"""Tells the draw of prompts from those of the tests: see `protocol.SEED_NUMBERS`."""


@dataclass(frozen=True)
class Reservoir:
    """How prompts of each language are kept: a random sample of at most `size`, which follows the latest usage."""

    mode: str
    """Option `reservoir`: off, redacted or full."""
    size: int
    half_life: int
    """Prompts after which an earlier prompt weighs half as much."""
    seed: int

    def choose(self, prompts: Prompts, language: str, *, before: int, lowest_rank: float) -> list[NewPrompt]:
        """Return the prompts that may enter the sample of a language.

        before: prompts of the language that came earlier; lowest_rank: rank to beat, -inf while the sample is not full.
        """
        if self.mode == "off" or prompts.texts is None:
            return []
        rng = np.random.default_rng([self.seed, zlib.crc32(language.encode()), SEED_NUMBER, before])
        ranks = sampling_ranks(len(prompts), before, self.half_life, rng)
        best = np.argsort(-ranks)[: self.size]
        chosen = []
        for i in np.sort(best[ranks[best] > lowest_rank]):
            text = stored_form(prompts.texts[i], language, self.mode, lost="A prompt is not kept, since")
            if text is not None:
                cluster = int(prompts.categories[i])
                chosen.append(NewPrompt(storable(text), language, cluster, self.mode, float(ranks[i])))
        return chosen


def stored_form(text: str, language: str, mode: str, *, lost: str) -> str | None:
    """Return a text as the mode `redacted` or `full` stores it; None where its private data can't be replaced.

    lost: how the log says that it is not stored.
    """
    if mode != "redacted":
        return text
    try:
        return redact(text, language)
    except Exception as error:
        # The error may quote the text.
        logger.warning("%s redaction failed on it (%s)", lost, type(error).__name__)
        return None


def redacted(texts: Sequence[str], language: str) -> tuple[str, ...]:
    """Return texts with private data replaced by its kind; those on which that fails are left out.

    Without the extra for it none is shown.
    """
    shown = []
    for text in texts:
        try:
            shown.append(redact(text, language))
        except MissingExtraError:
            return ()
        except Exception as error:
            # The error may quote the text.
            logger.warning("An example is not shown, since redaction failed on it (%s)", type(error).__name__)
    return tuple(shown)


def sampling_ranks(n: int, position: int, half_life: int, rng: np.random.Generator) -> RealArray:
    """Return the ranks of n prompts that follow `position` earlier ones; a reservoir keeps the highest. Returns (n,).

    log weight plus Gumbel noise, which is weighted sampling without replacement in one pass (Efraimidis and Spirakis
    2006). A prompt's weight doubles every `half_life` prompts, so the reservoir is a random sample that follows the
    latest usage [ours].
    """
    growth = np.log(2.0) / half_life
    ranks: RealArray = growth * (position + np.arange(n)) + rng.gumbel(size=n)
    return ranks


def storable(text: str) -> str:
    """Return a text as every database takes it: no NUL, which PostgreSQL refuses, and no lone surrogate."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
