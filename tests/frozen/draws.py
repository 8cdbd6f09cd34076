"""The inputs of the frozen values: plain numpy, the same numbers on every machine, and nothing of compass in them.

Rows are hashed by strategies, so a draw that differs in one bit picks other rows. Therefore there is no matrix product
and no decomposition here, only draws of a seeded generator and sums; `digest` tells whether they came out the same.
Changing anything here makes the stored values worthless.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

TOPICS, DIMENSIONS = 12, 24
SEEDS = (11, 12)

# Selection: usage asks for topics of which the data at hand has few (1, 3) or no rows (2, 4, 7, 9).
USAGE = (10, 8, 7, 6, 6, 5, 5, 4, 3, 3, 2, 1)
CURRENT = (4, 2, 0, 2, 0, 16, 20, 0, 9, 0, 12, 15)
POOL = (200, 40, 150, 90, 160, 110, 60, 220, 170, 80, 195, 25)
LANGUAGES = {"en": 0.38, "de": 0.16, "de-AT": 0.06, "th": 0.15, "ru": 0.1, "br": 0.09, "sw": 0.06}
KIND_OF_TOPIC = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 2, 1, 9])
FREE_TEXT_SHARE = 0.3
NEAR_DUPLICATES = 60
SITUATIONS = ("classes", "partly free text", "free text", "no training data")

DISTANCES = ("genetic", "geographic", "syntactic", "phonological", "inventory", "featural")
STATISTICS = (
    "word_overlap", "subword_overlap", "transfer_size", "target_size", "size_ratio", "transfer_ttr", "target_ttr",
    "ttr_distance",
)  # fmt: skip
OTHER_TARGETS = ("eu", "ga", "hi", "ka", "yo")


@dataclass(frozen=True, eq=False)
class SelectionDraw:
    """What a strategy may look at, as plain arrays."""

    usage: npt.NDArray[np.float32]
    current: npt.NDArray[np.float32]
    pool: npt.NDArray[np.float32]
    usage_clusters: npt.NDArray[np.int64]
    current_clusters: npt.NDArray[np.int64]
    pool_clusters: npt.NDArray[np.int64]
    pool_languages: tuple[str, ...]
    pool_tokens: npt.NDArray[np.int64]
    current_answers: npt.NDArray[np.int64] | None
    pool_answers: npt.NDArray[np.int64] | None
    usage_ngrams: npt.NDArray[np.float64]
    pool_ngrams: npt.NDArray[np.float64]
    usage_model_vectors: npt.NDArray[np.float32]
    pool_model_vectors: npt.NDArray[np.float32]
    usage_gradients: npt.NDArray[np.float32]
    usage_gradient_rows: npt.NDArray[np.int64]
    pool_gradients: npt.NDArray[np.float32]
    distances: Mapping[str, Mapping[str, float]]
    relatives: frozenset[str]
    text_statistics: Mapping[str, Mapping[str, float]]
    transfer_results: tuple[tuple[str, str, float, Mapping[str, float]], ...]
    given: npt.NDArray[np.int64]
    target_language: str = "cy"
    n_clusters: int = TOPICS


@cache
def selection_draw(situation: str, seed: int) -> SelectionDraw:
    """Draw candidates: 60 usage rows, 80 at hand, 1,500 in the pool; the cluster of a row is its topic."""
    rng = np.random.default_rng([1, seed])
    (usage, usage_topics), (current, current_topics), (pool, pool_topics) = (
        _rows_of_topics(rng, counts) for counts in (USAGE, CURRENT, POOL)
    )
    languages = rng.choice(len(LANGUAGES), len(pool), p=list(LANGUAGES.values()))
    copies = rng.choice(len(pool), NEAR_DUPLICATES, replace=False)
    for copy in copies.tolist():
        alike = np.flatnonzero((pool_topics == pool_topics[copy]) & (languages == languages[copy]))
        pool[copy] = pool[alike[rng.integers(len(alike))]]
    pool[copies] = _unit(pool[copies] + 0.02 * rng.normal(size=(len(copies), DIMENSIONS)))
    tags = [list(LANGUAGES)[i] for i in languages]

    current_answers, pool_answers = KIND_OF_TOPIC[current_topics], KIND_OF_TOPIC[pool_topics]
    # A few answers are of another kind than their topic's, and a few of no kind: not enough to refuse quotas.
    odd = rng.random(len(pool))
    pool_answers = np.where(odd < 0.05, rng.integers(0, 10, len(pool)), pool_answers)
    pool_answers = np.where(odd > 0.98, -1, pool_answers)

    distances = {tag: dict(zip(DISTANCES, rng.random(len(DISTANCES)).tolist(), strict=True)) for tag in LANGUAGES}
    del distances["sw"]["syntactic"], distances["th"]
    statistics = {tag: dict(zip(STATISTICS, rng.random(len(STATISTICS)).tolist(), strict=True)) for tag in LANGUAGES}
    names = (*STATISTICS, *DISTANCES)
    results = []
    for target in OTHER_TARGETS:
        for source in (*LANGUAGES, *OTHER_TARGETS):
            features = dict(zip(names, rng.random(len(names)).tolist(), strict=True))
            score = features["word_overlap"] - features["genetic"] + 0.1 * float(rng.random())
            if source != target:
                results.append((target, source, score, features))

    given = rng.permutation(len(pool))[:90]
    draw = SelectionDraw(
        usage=usage,
        current=current,
        pool=pool,
        usage_clusters=usage_topics,
        current_clusters=current_topics,
        pool_clusters=pool_topics,
        pool_languages=tuple(tags),
        pool_tokens=rng.integers(5, 61, len(pool)),
        current_answers=current_answers.astype(np.int64),
        pool_answers=pool_answers.astype(np.int64),
        usage_ngrams=rng.poisson(8 * np.abs(usage)).astype(np.float64),
        pool_ngrams=rng.poisson(8 * np.abs(pool)).astype(np.float64),
        usage_model_vectors=_unit(usage + 0.1 * rng.normal(size=usage.shape)),
        pool_model_vectors=_unit(pool + 0.1 * rng.normal(size=pool.shape)),
        usage_gradients=_unit(usage[-25:] + 0.1 * rng.normal(size=(25, DIMENSIONS))),
        usage_gradient_rows=np.arange(len(usage))[-25:],
        pool_gradients=_unit(pool + 0.1 * rng.normal(size=pool.shape)),
        distances=distances,
        relatives=frozenset({"br"}),
        text_statistics=statistics,
        transfer_results=tuple(results),
        given=given.astype(np.int64),
    )
    return _in_situation(draw, situation, np.random.default_rng([2, seed]))


def _in_situation(draw: SelectionDraw, situation: str, rng: np.random.Generator) -> SelectionDraw:
    if situation == "classes":
        return draw
    if situation == "free text":
        return dataclasses.replace(draw, current_answers=None, pool_answers=None)
    if situation == "no training data":
        return dataclasses.replace(
            draw, current=draw.current[:0], current_clusters=draw.current_clusters[:0],
            current_answers=draw.current_answers[:0],
        )  # fmt: skip
    if situation != "partly free text":
        raise ValueError(f"no situation {situation!r}")
    free_current, free_pool = (rng.random(len(rows)) < FREE_TEXT_SHARE for rows in (draw.current, draw.pool))
    return dataclasses.replace(
        draw,
        current_answers=np.where(free_current, -1, draw.current_answers),
        pool_answers=np.where(free_pool, -1, draw.pool_answers),
    )


def _rows_of_topics(
    rng: np.random.Generator, counts: Sequence[int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    topics = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)
    return _unit(np.eye(DIMENSIONS)[topics] + 0.17 * rng.normal(size=(len(topics), DIMENSIONS))), topics


def _unit(rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    x = rows.astype(np.float64)
    return (x / np.sqrt((x * x).sum(axis=1, keepdims=True))).astype(np.float32)


@dataclass(frozen=True, eq=False)
class HistoryDraw:
    """The history that anchors are drawn from: a cluster and a period for each row."""

    clusters: npt.NDArray[np.int64]
    periods: npt.NDArray[np.int64]
    period_sizes: Mapping[int, int]
    """Rows that each period had, of which only those above are left."""


@cache
def history_draw(n_periods: int, seed: int) -> HistoryDraw:
    """Draw 600 rows of unequal clusters in periods of unequal sizes."""
    rng = np.random.default_rng([3, n_periods, seed])
    weights = np.arange(1, TOPICS + 1) ** 2
    clusters = rng.choice(TOPICS, 600, p=weights / weights.sum())
    shares = np.arange(1, n_periods + 1)
    periods = rng.choice(n_periods, 600, p=shares / shares.sum())
    sizes = {p: int((periods == p).sum()) + 200 * (n_periods - 1 - p) for p in range(n_periods)}
    return HistoryDraw(clusters.astype(np.int64), periods.astype(np.int64), sizes)


@dataclass(frozen=True, eq=False)
class HeldOutDraw:
    """One held-out set: scores of the same rows before and after."""

    name: str
    role: str
    before: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    units: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class GateDraw:
    """The held-out sets of one decision, and the options that are not the default."""

    sets: tuple[HeldOutDraw, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


NEW, OLD, PERIOD, ENGLISH = "new-usage", "old-usage", "period", "english"
_GATE: Mapping[str, tuple[tuple[tuple[str, str, int, float, float, str], ...], Mapping[str, Any]]] = {
    # Name, role, rows, chance that a wrong row turns right, that a right one turns wrong, kind of score.
    "passes": (
        (("new", NEW, 100, 0.6, 0.02, "01"), ("old", OLD, 300, 0.03, 0.01, "01"),
         ("en", ENGLISH, 300, 0.02, 0.0, "01")),
        {},
    ),
    "passes with periods": (
        (("new", NEW, 90, 0.6, 0.02, "01"), ("old", OLD, 250, 0.03, 0.01, "01"),
         ("spring", PERIOD, 260, 0.04, 0.0, "01"),
         ("summer", PERIOD, 240, 0.03, 0.01, "01"),
         ("en", ENGLISH, 300, 0.02, 0.0, "01")),
        {},
    ),
    "no gain": (
        (("new", NEW, 100, 0.02, 0.4, "01"), ("old", OLD, 300, 0.03, 0.01, "01"),
         ("en", ENGLISH, 300, 0.0, 0.0, "01")),
        {},
    ),
    "old usage is lost": (
        (("new", NEW, 100, 0.6, 0.02, "01"), ("old", OLD, 200, 0.0, 0.3, "01"),
         ("en", ENGLISH, 300, 0.0, 0.0, "01")),
        {},
    ),
    "a period and English are lost": (
        (("new", NEW, 100, 0.6, 0.02, "01"), ("old", OLD, 200, 0.03, 0.0, "01"),
         ("spring", PERIOD, 200, 0.0, 0.3, "01"),
         ("en", ENGLISH, 200, 0.0, 0.4, "01")),
        {},
    ),
    "too few rows everywhere": (
        (("new", NEW, 12, 0.9, 0.0, "01"), ("old", OLD, 15, 0.0, 0.0, "01"),
         ("en", ENGLISH, 30, 0.0, 0.0, "01")),
        {},
    ),
    "a small gain": (
        (("new", NEW, 100, 0.12, 0.08, "01"), ("old", OLD, 100, 0.02, 0.1, "01"),
         ("en", ENGLISH, 120, 0.03, 0.04, "01")),
        {},
    ),
    "roles are missing": ((("new", NEW, 100, 0.6, 0.02, "01"),
         ("spring", PERIOD, 300, 0.03, 0.0, "01")), {}),
    "nothing is held out": ((), {}),
    "other margins": (
        (("new", NEW, 150, 0.5, 0.02, "01"), ("old", OLD, 150, 0.05, 0.08, "01"),
         ("spring", PERIOD, 150, 0.1, 0.1, "01"),
         ("en", ENGLISH, 150, 0.0, 0.05, "01")),
        {"min_improvement": 0.05, "tolerance_old_usage": 0.1, "tolerance_period": 0.08, "tolerance_english": 0.12,
         "gate_level": 0.1, "gate_power": 0.9, "gate_requires": ("new-usage", "old-usage", "period", "english")},
    ),
    "many rows": (
        (("new", NEW, 1200, 0.3, 0.02, "01"), ("old", OLD, 1500, 0.03, 0.01, "01"),
         ("en", ENGLISH, 2000, 0.02, 0.01, "01")),
        {},
    ),
    "shares pass": (
        (("new", NEW, 80, 0.15, 0.0, "share"), ("old", OLD, 200, 0.01, 0.0, "share"),
         ("en", ENGLISH, 150, 0.0, 0.0, "share")),
        {},
    ),
    "losses fail": (
        (("new", NEW, 60, 0.3, 0.0, "loss"), ("old", OLD, 120, 0.0, 0.4, "loss"),
         ("en", ENGLISH, 90, 0.0, 0.02, "loss")),
        {},
    ),
    "items in several languages": (
        (("new", NEW, 120, 0.6, 0.02, "01 in fours"), ("old", OLD, 240, 0.02, 0.02, "01 in fours"),
         ("en", ENGLISH, 150, 0.02, 0.01, "01")),
        {},
    ),
    "scores that do not move": (
        (("new", NEW, 60, 0.5, 0.0, "01"), ("old", OLD, 60, 0.0, 0.0, "same share"),
         ("en", ENGLISH, 150, 0.0, 0.0, "same loss")),
        {},
    ),
}  # fmt: skip
GATE_CASES = tuple(_GATE)


def gate_draw(case: str) -> GateDraw:
    """Draw the held-out sets of one case."""
    rows, options = _GATE[case]
    rng = np.random.default_rng([4, GATE_CASES.index(case)])
    return GateDraw(tuple(_held_out(rng, *row) for row in rows), options)


def _held_out(
    rng: np.random.Generator, name: str, role: str, n: int, won: float, lost: float, kind: str
) -> HeldOutDraw:
    if kind.startswith("01"):
        before = (rng.random(n) < 0.5).astype(np.float64)
        chance = rng.random(n)
        after = np.where(before == 0.0, chance < won, chance >= lost).astype(np.float64)
        units = tuple(f"item {i // 4}" for i in range(n)) if kind.endswith("fours") else None
        return HeldOutDraw(name, role, before, after, units)
    if kind == "share":
        before = rng.random(n)
        return HeldOutDraw(name, role, before, np.clip(before + won - lost + 0.05 * (rng.random(n) - 0.5), 0.0, 1.0))
    if kind == "loss":
        before = -4.0 * rng.random(n)
        return HeldOutDraw(name, role, before, before + won - lost + 0.5 * (rng.random(n) - 0.5))
    before = rng.random(n) if kind == "same share" else -4.0 * rng.random(n)
    return HeldOutDraw(name, role, before, before.copy())


@dataclass(frozen=True, eq=False)
class BatchDraw:
    """One batch of prompts as a monitor gets it."""

    vectors: npt.NDArray[np.float32]
    languages: tuple[str, ...]
    losses: npt.NDArray[np.float64]
    """NaN where there is no label."""


@dataclass(frozen=True, eq=False)
class MonitorDraw:
    """A world, the reference usage in it, and the prompts that follow."""

    space_vectors: npt.NDArray[np.float32]
    """Rows that the space is fitted on."""
    reference_vectors: npt.NDArray[np.float32]
    reference_languages: tuple[str, ...]
    reference_losses: Mapping[str, npt.NDArray[np.float64]]
    batches: tuple[BatchDraw, ...]
    n_clusters: int = TOPICS


HISTORIES = ("topics", "novelty", "within clusters")
PROMPTS, STEADY, CALM_AGAIN = 5_000, 2_500, 3_100
_MIX = np.array([0.16, 0.14, 0.12, 0.11, 0.1, 0.09, 0.08, 0.07, 0.05, 0.04, 0.03, 0.01])
_MOVED = 0.65 * _MIX + 0.35 * np.eye(TOPICS)[-1]


def monitor_draw(history: str) -> MonitorDraw:
    """Draw 5,000 prompts, mostly in two languages, of which the first 2,500 are like the reference.

    Then, in "topics", a rare topic grows in Welsh until about prompt 3,100 and answers get worse in German; in
    "novelty", prompts stray from every topic and a new language comes; in "within clusters", German prompts move a
    little, all in one direction, and Welsh answers get worse.
    """
    rng = np.random.default_rng([5, HISTORIES.index(history)])
    space_vectors = _prompts(rng, np.full(TOPICS, 1 / TOPICS), 600)
    n = {"cy": 300, "de": 200, "la": 8}
    reference_vectors = _prompts(rng, _MIX, sum(n.values()))
    reference_losses = {"cy": (rng.random(150) < 0.2).astype(np.float64)}
    batches = []
    start = 0
    while start < PROMPTS:
        size = min(int(rng.integers(90, 400)), (STEADY if start < STEADY else PROMPTS) - start)
        batches.append(_batch(rng, size, history if start >= STEADY else "", start))
        start += size
    return MonitorDraw(
        space_vectors,
        reference_vectors,
        tuple(tag for tag, rows in n.items() for _ in range(rows)),
        reference_losses,
        tuple(batches),
    )


def _batch(rng: np.random.Generator, n: int, drift: str, start: int) -> BatchDraw:
    shares = [0.49, 0.33, 0.01, 0.17] if drift == "novelty" else [0.59, 0.395, 0.015, 0.0]
    tags = rng.choice(["cy", "de", "la", "fr"], n, p=shares)
    vectors = _prompts(rng, _MIX, n, noise=0.15 if drift == "novelty" else 0.08)
    other = _prompts(rng, _MOVED, n)
    wrong = np.full(n, 0.2)
    if drift == "topics":
        vectors = np.where(((tags == "cy") & (start < CALM_AGAIN))[:, None], other, vectors)
        wrong[tags == "de"] = 0.45
    if drift == "within clusters":
        pushed = _unit(vectors + 0.1 * (np.arange(DIMENSIONS) < TOPICS))
        vectors = np.where((tags == "de")[:, None], pushed, vectors)
        wrong[tags == "cy"] = 0.45
    losses = np.where(rng.random(n) < wrong, 1.0, 0.0)
    losses[rng.random(n) < 0.6] = np.nan
    return BatchDraw(vectors, tuple(tags.tolist()), losses)


def _prompts(
    rng: np.random.Generator, mix: npt.NDArray[np.float64], n: int, *, noise: float = 0.08
) -> npt.NDArray[np.float32]:
    topics = rng.choice(TOPICS, n, p=mix)
    return _unit(np.eye(DIMENSIONS)[topics] + noise * rng.normal(size=(n, DIMENSIONS)))


def digest(draw: Any) -> str:
    """Return a SHA-256 over all that is in a draw."""
    found = hashlib.sha256()
    for part in _parts(draw):
        found.update(part)
    return found.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if dataclasses.is_dataclass(value):
        for knob in dataclasses.fields(value):
            yield knob.name.encode()
            yield from _parts(getattr(value, knob.name))
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield repr(key).encode()
            yield from _parts(value[key])
    elif isinstance(value, tuple):
        for part in value:
            yield from _parts(part)
    elif isinstance(value, frozenset):
        yield repr(sorted(value)).encode()
    else:
        yield repr(value).encode()
