"""What a drift test is, what it learns of its stream beforehand, and what it gets of each batch.

A stream is what one language asks, or the mix of all languages (`*`). Its prompts fall into categories: the clusters of
the space, or for the mix the languages. They are counted in blocks, of which the last few are the window.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from compass.drift.background import Background
from compass.drift.compared import Compared
from compass.drift.level import level
from compass.drift.reference import LanguageReference
from compass.drift.results import MIX, Check
from compass.semantic.arrays import FloatArray, IntArray, RealArray

Scope = Literal["language", "mix"]
"""Streams of a test: each language that the reference has, or the mix of languages."""
Cadence = Literal["block", "batch"]
"""When a test is called: whenever a block is full and once for the rest, or once a batch."""

SEED_NUMBERS = {"histogram": 0, "vectors": 1, "novelty": 2, "languages": 3, "loss": 4}
"""Numbers that seeds were made of in version 0.1: a stored monitor goes on with the same draws. Later tests go by their
names."""


@dataclass(frozen=True, eq=False)
class Stream:
    """What a test is fitted to: the reference of a stream, the sizes of its window, and the promise to keep."""

    name: str
    """Language, or `*` for the mix of languages."""
    reference: LanguageReference
    """Of the mix only its counts are known, by language."""
    window: int
    """Prompts in a window."""
    block: int
    """Prompts in a block, which divides the window."""
    prompts_per_false_alarm: int
    """Without drift, at most one false alarm is expected in so many prompts, all tests together."""
    total_share: float = 1.0
    """What each test's share is divided by: see `level.total_share`."""
    base_seed: int = 0
    background: Background | None = None
    """How the rows of the reference hang together; None if their order is not known."""

    centroids: FloatArray | None = None
    """(k, d) of the clusters; None for the mix of languages."""

    @property
    def scope(self) -> Scope:
        """Which tests are of this stream."""
        return "mix" if self.name == MIX else "language"

    @property
    def identity(self) -> str:
        """What tells counts of these categories from those of others: clusters of another space; languages."""
        if self.centroids is None:
            return str(len(self.reference.counts))
        return hashlib.sha256(np.ascontiguousarray(self.centroids).tobytes()).hexdigest()[:16]

    @property
    def blocks(self) -> int:
        """Blocks in a window."""
        return self.window // self.block

    def nearest(self, vectors: FloatArray) -> IntArray:
        """Return the clusters of vectors in the space, (n,). vectors: (n, d)."""
        if self.centroids is None:
            return np.zeros(len(vectors), dtype=np.int64)
        nearest: IntArray = np.argmax(vectors @ self.centroids.T, axis=1)
        return nearest

    def level(self, share: float, *, every: int) -> float:
        """Return the level of a check. share: of the false alarms; every: prompts between two checks, at least."""
        return level(every, share / self.total_share, self.prompts_per_false_alarm)

    def seed(self, test: str, number: int) -> int:
        """Return the seed of a test's check by its number, the same after a restart; 0 is for what is drawn before."""
        key = SEED_NUMBERS.get(test, zlib.crc32(test.encode()))
        parts = [self.base_seed, zlib.crc32(self.name.encode()), key, number]
        return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


@dataclass(frozen=True, eq=False)
class Prompts:
    """n prompts in their order."""

    vectors: FloatArray
    """(n, d) in the space, language removed."""
    categories: IntArray
    """(n,) clusters, or for the mix of languages the numbers of the languages."""
    distances: RealArray
    """(n,) 1 - cosine to the centroid of the cluster."""
    losses: RealArray
    """(n,) NaN where there is no label."""
    texts: Sequence[str] | None
    """None where the caller gave none."""
    sessions: IntArray | None = None
    """(n,) numbers of sessions, -1 where there is no id; None where the caller gave none."""
    times: RealArray | None = None
    """(n,) seconds since 1970, NaN where unknown; None where the caller gave none."""
    lesser: npt.NDArray[np.bool_] | None = None
    """(n,) whether it tells little that is new: later in its session or, without an id, of the category of the prompt
    before it."""

    def __len__(self) -> int:
        return len(self.categories)

    def take(self, rows: slice | npt.NDArray[np.intp]) -> Prompts:
        """Return some of the prompts. rows: a slice, or indices."""
        texts = self.texts
        if texts is not None:
            texts = texts[rows] if isinstance(rows, slice) else [texts[i] for i in rows]
        return Prompts(
            self.vectors[rows], self.categories[rows], self.distances[rows], self.losses[rows], texts,
            None if self.sessions is None else self.sessions[rows],
            None if self.times is None else self.times[rows],
            None if self.lesser is None else self.lesser[rows],
        )  # fmt: skip

    def beginning(self) -> Prompts:
        """Return the prompts that are not lesser ones."""
        return self if self.lesser is None else self.take(np.flatnonzero(~self.lesser))


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts of one stream, and where the stream stands after the last of them."""

    stream: str
    prompts: Prompts
    counted: int
    """Prompts of the stream so far, these included."""
    block: int
    """Number of blocks that are full so far."""
    ends_block: bool
    """Whether the last prompt fills a block."""
    window: IntArray | None
    """(k,) counts of the categories in the last full blocks; None before there are enough for a window."""
    alarms: Collection[str] = field(default_factory=frozenset)
    """Names of the tests whose alarm stands."""
    compared: Compared | None = None
    """The window in independent prompts, where prompts hang together; None where they do not, or there is none yet."""
    sessions: bool = False
    """Whether prompts keep their topic so often that a test of single prompts should take those that begin one."""
    if_sessions: Callable[[], Compared | None] = lambda: None
    """Returns the window as one of sessions, where a young stream may have some; to be asked before an alarm."""

    def check(
        self,
        test: str,
        value: float,
        p_value: float,
        alpha: float,
        *,
        threshold: float | None = None,
        reference_value: float | None = None,
        alarm: bool | None = None,
    ) -> Check:
        """Return a check of the stream as it stands now. alarm: by default, whether the p-value is at most alpha."""
        alarm = p_value <= alpha if alarm is None else alarm
        return Check(self.stream, test, self.counted, value, threshold, p_value, alpha, alarm, reference_value)


class DriftTest(Protocol):
    """A way to see that usage has changed. A monitor has a copy for each stream, fits it, and hands it every batch.

    Subclass it for the defaults below, put the class into a file of `compass/drift/tests` and decorate it with
    `compass.drift.register`: nothing else has to know of it.
    """

    name: str
    """Known by it in checks, events and stored state."""
    share: float
    """Share of the false alarms that it may raise. If the shares of all tests exceed 1, all are scaled down."""
    scope: Scope = "language"
    cadence: Cadence = "batch"
    late_labels: bool = False
    """Whether it takes losses of prompts that were counted before: a batch then has losses and nothing else."""
    quiet_checks: int = 2
    """Checks without an alarm, in a row, that end one: at least a whole window's."""

    def fit(self, stream: Stream) -> None:
        """Get ready for a stream; the level of a check comes from `stream.level(share, every=...)`."""

    def observe(self, batch: Batch) -> Iterable[Check]:
        """Take in a batch; yield a check (`batch.check(...)`) whenever one is due.

        Its p-value has to be valid: without drift, P(p <= a) is at most a, for every a. Between two checks there must
        be as many prompts as the level was computed for.
        """

    def save(self, stored: dict[str, Any]) -> None:
        """Add what has to outlive the process to the stream's JSON content, under keys of its own."""
        del stored

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Go on from the stream's JSON content, or begin anew where it holds nothing of this test.

        Called after `fit`, and again when a batch could not be written and must not count.
        """
        del stored

    def settings(self) -> Mapping[str, float]:
        """Return the parameters that the stored state depends on, by name: a change of them needs a new start."""
        return {}

    def status(self) -> Mapping[str, Any]:
        """Return what the monitor's status shows of it, JSON-ready, under keys of its own."""
        return {}

    def describe(self, value: float) -> str:
        """Return a check's value in words, without any prompt."""
        return f"{self.name} {value:.3g}"
