"""A batch of prompts as it comes in: what can be counted of it, and what one sender only repeats."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compass.drift.results import LARGEST_LOSS, NO_LOSS, NO_VECTOR, REPEATED, Skipped
from compass.drift.traffic import NO_SESSION
from compass.errors import DataError
from compass.semantic.arrays import FloatArray, IntArray, RealArray

RARELY = 1e-4
"""How rarely a prompt may come more often than it did in the reference before it is taken for a bot's [ours]."""
SESSIONS_REMEMBERED = 50_000


@dataclass(frozen=True, eq=False)
class Incoming:
    """n prompts in their order."""

    vectors: FloatArray
    """(n, d) of the encoder."""
    languages: Sequence[str]
    texts: Sequence[str] | None
    losses: RealArray
    """(n,) NaN where there is no label."""
    sessions: Sequence[str]
    """Ids, empty where there is none."""
    times: RealArray
    """(n,) seconds since 1970, NaN where unknown."""

    @classmethod
    def of(
        cls,
        vectors: FloatArray,
        languages: Sequence[str],
        texts: Sequence[str] | None,
        losses: npt.ArrayLike | None,
        sessions: Sequence[str] | None,
        times: npt.ArrayLike | None,
    ) -> Incoming:
        """Put the columns side by side. Raises DataError for wrong shapes."""
        n, tags = len(vectors), len(languages)
        if n != tags or (texts is not None and n != len(texts)) or (sessions is not None and n != len(sessions)):
            given = f"{n} vectors, {tags} languages and {n if texts is None else len(texts)} texts"
            if sessions is not None:
                given += f" in {len(sessions)} sessions"
            raise DataError(f"observe: each prompt needs its own vector, language and text; got {given}.")
        numbers: list[RealArray] = []
        for name, column in (("losses", losses), ("times", times)):
            values: RealArray = np.full(n, np.nan) if column is None else np.asarray(column, dtype=np.float64)
            if values.shape != (n,):
                raise DataError(f"observe: {name} must be one a prompt, NaN where unknown; got shape {values.shape}.")
            numbers.append(values)
        return cls(vectors, languages, texts, numbers[0], [""] * n if sessions is None else sessions, numbers[1])

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: list[int]) -> Incoming:
        """Return some of the prompts."""
        texts = None if self.texts is None else [self.texts[i] for i in rows]
        languages, sessions = ([column[i] for i in rows] for column in (self.languages, self.sessions))
        return Incoming(self.vectors[rows], languages, texts, self.losses[rows], sessions, self.times[rows])

    def usable(self) -> tuple[Incoming, tuple[Skipped, ...]]:
        """Return the prompts that can be counted, and why others can't."""
        finite = np.isfinite(self.vectors).all(axis=tuple(range(1, np.ndim(self.vectors))))
        sane = ~(np.abs(self.losses) > LARGEST_LOSS)
        if (finite & sane).all():
            return self, ()
        reasons = ((NO_VECTOR, np.flatnonzero(~finite)), (NO_LOSS, np.flatnonzero(finite & ~sane)))
        skipped = tuple(
            Skipped(why, len(rows), f"prompt {rows[0] + 1} of its batch") for why, rows in reasons if len(rows)
        )
        return self.take(np.flatnonzero(finite & sane).tolist()), skipped


class Repeats:
    """Finds prompts that one sender repeats: retries, bots, tests of the line. Remembers texts in memory alone.

    A prompt is a repeat if its session had it before, within a window; or, whoever sent it, if it has come more often
    in a window than the most frequent prompt of the reference would.
    """

    def __init__(self, window: int, most_repeated: Mapping[str, tuple[int, int]]) -> None:
        """most_repeated: language -> how often the most frequent prompt of the reference is in how many rows."""
        from scipy.stats import poisson

        self._window = window
        self._most = {
            tag: math.ceil(poisson.isf(RARELY, (n + 1) / rows * window)) for tag, (n, rows) in most_repeated.items()
        }
        self._recent: dict[str, deque[tuple[int, str]]] = {}
        self._texts: Counter[tuple[str, int]] = Counter()
        self._sessions: set[tuple[str, int, str]] = set()

    def leave_out(self, batch: Incoming) -> tuple[Incoming, tuple[Skipped, ...]]:
        """Return the batch without what is repeated, and how much that was."""
        if batch.texts is None:
            return batch, ()
        rows = self.kept(batch.texts, batch.languages, batch.sessions)
        if len(rows) == len(batch):
            return batch, ()
        first = next(i for i, row in enumerate([*rows, -1]) if i != row)
        return batch.take(rows), (Skipped(REPEATED, len(batch) - len(rows), f"prompt {first + 1} of its batch"),)

    def kept(self, texts: Sequence[str], languages: Sequence[str], sessions: Sequence[str]) -> list[int]:
        """Return which of the next n prompts are no repeats, and remember these."""
        prompts = zip(texts, languages, sessions, strict=True)
        return [i for i, (text, tag, session) in enumerate(prompts) if self._count(text, tag, session)]

    def _count(self, text: str, tag: str, session: str) -> bool:
        """Remember a prompt and return True, or return False if it is a repeat."""
        key = hash(same_text(text))
        if session and (tag, key, session) in self._sessions:
            return False
        if tag in self._most and self._texts[tag, key] >= self._most[tag]:
            return False
        recent = self._recent.setdefault(tag, deque())
        recent.append((key, session))
        self._texts[tag, key] += 1
        if session:
            self._sessions.add((tag, key, session))
        if len(recent) > self._window:
            old, old_session = recent.popleft()
            self._texts[tag, old] -= 1
            if not self._texts[tag, old]:
                del self._texts[tag, old]
            self._sessions.discard((tag, old, old_session))
        return True

    def forget(self) -> None:
        """Forget all prompts: those of a batch that could not be written come again."""
        self._recent.clear()
        self._texts.clear()
        self._sessions.clear()


class SessionNumbers:
    """Numbers the sessions in the order in which they come, so that no id has to be kept."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._next = 0

    def of(self, sessions: Sequence[str]) -> IntArray:
        """Return (n,) numbers, NO_SESSION where there is no id."""
        found = np.full(len(sessions), NO_SESSION, dtype=np.int64)
        for i, session in enumerate(sessions):
            if session:
                # Taken out and put in again, so that the first is the one that has been silent for longest.
                number = self._numbers.pop(session, self._next)
                self._next += number == self._next
                self._numbers[session] = found[i] = number
        while len(self._numbers) > SESSIONS_REMEMBERED:
            del self._numbers[next(iter(self._numbers))]
        return found


def most_repeated(texts: Sequence[str], languages: Sequence[str]) -> dict[str, int]:
    """Return how often the most frequent prompt of each language comes."""
    counts = Counter((tag, same_text(text)) for text, tag in zip(texts, languages, strict=True))
    found: dict[str, int] = {}
    for (tag, _), n in counts.items():
        found[tag] = max(n, found.get(tag, 0))
    return found


def same_text(text: str) -> str:
    """Return what two spellings of one prompt share: its words, in lower case."""
    return " ".join(text.split()).casefold()
