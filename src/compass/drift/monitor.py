"""The monitor: count each prompt once, look at the windows when they have moved on, say what changed."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.config import MonitorConfig
from compass.data.redaction import check_installed, redact
from compass.drift.explain import Explanation, explain
from compass.drift.level import draws_for, level
from compass.drift.reference import LanguageReference, Reference, place
from compass.drift.results import MIX, DriftEvent, Look, Observed, describe
from compass.drift.sampling import VectorSample, sampling_ranks
from compass.drift.state import KeptPrompt, MonitorState, NewPrompt, Position
from compass.drift.tests.histogram import HistogramTest
from compass.drift.tests.loss import loss_p_value
from compass.drift.tests.mmd import mmd_test
from compass.drift.tests.novelty import NoveltyTest
from compass.drift.window import BlockWindow
from compass.errors import ConfigError, DataError
from compass.semantic.arrays import FloatArray, IntArray, RealArray

logger = logging.getLogger(__name__)

OTHER = "other"
"""Class of the languages that the reference does not have."""
TESTS = ("histogram", "vectors", "novelty", "languages", "loss")
LOSS_LOOKS = 4
"""Looks at the losses while their window moves on by its own length."""
STORED_OPTIONS = (
    "prompts_per_false_alarm", "window", "look_every", "share_histogram", "share_vectors", "share_novelty",
    "share_languages", "share_loss", "novelty_tail", "feedback_window",
)  # fmt: skip
"""Options that the stored windows and the promise depend on: to change one is to start anew."""
SECONDS_PER_DAY = 86_400.0


class Monitor:
    """Watches prompts for drift from a reference. One process may write a monitor's state at a time."""

    def __init__(
        self,
        reference: Reference,
        config: MonitorConfig,
        *,
        database: str,
        name: str = "monitor",
        cluster_names: Sequence[str] = (),
        reference_examples: Mapping[int, Sequence[str]] | None = None,
        restart: bool = False,
        seed: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the state, or make it, and go on where it ends.

        database: SQLAlchemy URL; cluster_names: K or none; reference_examples: cluster -> texts, to show what shrank;
        restart: forget windows, alarms and kept prompts of an earlier reference, but not what input was counted.
        Raises ConfigError for wrong options, MonitorError if the state belongs to another reference or can't be used.
        """
        check_config(config)
        if config.reservoir == "redacted":
            check_installed()
        self.reference, self.config, self.seed = reference, config, seed
        self._names, self._examples, self._clock = tuple(cluster_names), reference_examples or {}, clock
        self._alphas = {
            "histogram": level(config.look_every, config.share_histogram, config.prompts_per_false_alarm),
            "vectors": level(config.window, config.share_vectors, config.prompts_per_false_alarm),
            "novelty": level(config.look_every, config.share_novelty, config.prompts_per_false_alarm),
            "languages": level(config.look_every, config.share_languages, config.prompts_per_false_alarm),
            "loss": level(self._loss_step, config.share_loss, config.prompts_per_false_alarm),
        }
        self._classes = [*sorted(reference.mix), OTHER]
        self._tests = {tag: _LanguageTests(self, tag, rows) for tag, rows in reference.languages.items()}
        self._mix_test: HistogramTest | None = None
        if self._alphas["languages"] > 0:
            counts = np.array([reference.mix.get(tag, 0) for tag in self._classes], dtype=np.int64)
            self._mix_test = HistogramTest.calibrate(
                counts, config.window, alpha=self._alphas["languages"], seed=self.seed_of(MIX, "languages", 0)
            )
        self._stale = False
        """Whether the windows in memory may be ahead of the database."""
        self._state = MonitorState(database, name)
        try:
            self._load(restart=restart)
        except BaseException:
            self._state.close()
            raise

    def close(self) -> None:
        """Give the database connection back. What was observed is already written."""
        self._state.close()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def observe(
        self,
        vectors: FloatArray,
        languages: Sequence[str],
        *,
        texts: Sequence[str] | None = None,
        losses: npt.ArrayLike | None = None,
        batch_id: str | None = None,
        position: Position | None = None,
    ) -> Observed:
        """Count one batch of prompts, in their order, and look where a window has moved on.

        vectors: (n, d) encoder vectors; languages: n tags; texts: n prompts, needed for the reservoir alone; losses: n,
        NaN where there is no label. A batch with a `batch_id` or a `position` that was counted before is not counted
        again; all that a batch changes is written in one transaction, or nothing. Raises DataError for wrong shapes,
        MonitorError if the state can't be written.
        """
        n = len(vectors)
        wrong = {"languages": len(languages), "texts": n if texts is None else len(texts)}
        if any(size != n for size in wrong.values()):
            raise DataError(f"observe: got {n} vectors, {wrong['languages']} languages and {wrong['texts']} texts.")
        if self._stale:
            self._load()
        if self._state.counted(batch_id, position):
            return Observed(0, repeated=True)
        # Set until the batch is written: windows that ran ahead of the database are read back from it.
        self._stale = True
        batch = self._batch(vectors, languages, texts, losses)
        looks, events = self._count(batch)
        kept = self._choose(batch)
        now = self._clock()
        written = self._state.write(
            prompts=n,
            streams={name: stream.to_dict() for name, stream in self._streams.items() if name in batch.touched},
            looks=[dict(vars(look)) for look in looks],
            events=[event.to_dict(examples=False) for event in events],
            kept=kept,
            reservoir_size=self.config.reservoir_size,
            oldest=now - self.config.retention_days * SECONDS_PER_DAY,
            at=now,
            batch=batch_id,
            position=position,
        )
        if not written:
            return Observed(0, repeated=True)
        self._stale = False
        self._prompts += n
        if kept:
            self._ranks = self._state.lowest_ranks(self.config.reservoir_size)
        for event in events:
            logger.info("%s", describe(event))
        shown = tuple(replace(event, explanation=self._with_examples(event)) for event in events)
        return Observed(n, False, tuple(looks), shown, batch.unwatched)

    def status(self) -> dict[str, Any]:
        """Return where each stream stands, JSON-ready."""
        streams = {}
        for name, stream in self._streams.items():
            streams[name] = {
                "prompts": stream.window.prompts,
                "window_full": stream.window.full,
                "labelled": stream.labelled,
                "alarms": {test: alarm["since"] for test, alarm in stream.alarms.items()},
                "last_looks": {test: asdict(look) for test, look in stream.last.items()},
            }
        return {
            "prompts": self._prompts,
            "drift": any(stream.alarms for stream in self._streams.values()),
            "prompts_per_false_alarm": self.config.prompts_per_false_alarm,
            "streams": streams,
        }

    def explain(self, stream: str) -> Explanation | None:
        """Say which clusters (for `*`: languages) of a stream's window grew and shrank; None before it is full."""
        found = self._told(stream)
        return self._add_examples(stream, found) if found else None

    def kept_prompts(self, language: str, *, most: int | None = None) -> list[KeptPrompt]:
        """Return what the reservoir holds of a language, newest first: the usage that an update starts from."""
        self.purge()
        return self._state.prompts(language, most=most)

    def purge(self) -> int:
        """Delete kept prompts that are older than the retention time or that the option `reservoir` does not allow.

        Every write and every start do it too; call it where no prompts come for long. Returns how many went.
        """
        modes = {"off": (), "redacted": ("redacted",), "full": ("full", "redacted")}[self.config.reservoir]
        oldest = self._clock() - self.config.retention_days * SECONDS_PER_DAY
        return self._state.purge(modes=modes, oldest=oldest)

    def offsets(self) -> dict[str, Position]:
        """Return how far each file was counted, by name."""
        return self._state.offsets()

    def looks(self) -> list[dict[str, Any]]:
        """Return the newest looks, oldest first, JSON-ready."""
        return self._state.looks()

    def events(self) -> list[dict[str, Any]]:
        """Return the newest events, oldest first, JSON-ready and without texts."""
        return self._state.events()

    def seed_of(self, stream: str, test: str, look: int) -> int:
        """Return a seed for one look, the same after a restart."""
        parts = [self.seed, zlib.crc32(stream.encode()), TESTS.index(test), look]
        return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])

    @property
    def _loss_step(self) -> int:
        return max(1, self.config.feedback_window // LOSS_LOOKS)

    @property
    def _blocks(self) -> int:
        return self.config.window // self.config.look_every

    def _load(self, *, restart: bool = False) -> None:
        options = {name: getattr(self.config, name) for name in STORED_OPTIONS}
        self._prompts, stored = self._state.begin(self.reference.identity, options, restart=restart)
        self._streams: dict[str, _Stream] = {}
        for name in [*self._tests, MIX]:
            k = len(self._classes) if name == MIX else self.reference.space.n_clusters
            self._streams[name] = _Stream.of(stored.get(name), k, self.config.look_every, self._blocks)
        self.purge()
        self._ranks = self._state.lowest_ranks(self.config.reservoir_size)
        self._samples = {tag: VectorSample(self.config.window, self.config.vector_rows) for tag in self._tests}
        self._stale = False

    def _batch(
        self, vectors: FloatArray, languages: Sequence[str], texts: Sequence[str] | None, losses: npt.ArrayLike | None
    ) -> _Batch:
        space = self.reference.space
        tags = np.asarray(languages, dtype=str)
        free, clusters, distances = place(space, vectors, languages)
        values = np.full(len(tags), np.nan) if losses is None else np.asarray(losses, dtype=np.float64)
        if values.shape != (len(tags),):
            raise DataError(f"observe: losses must be one a prompt, NaN where unknown; got shape {values.shape}.")
        if np.isinf(values).any():
            raise DataError("observe: losses must be finite, or NaN where unknown; got infinity.")
        found, index = np.unique(tags, return_inverse=True)
        rows = {str(tag): np.flatnonzero(index == i) for i, tag in enumerate(found)}
        order = {tag: i for i, tag in enumerate(self._classes)}
        table = np.array([order.get(str(tag), len(self._classes) - 1) for tag in found], dtype=np.int64)
        classes = table[index] if len(tags) else np.empty(0, dtype=np.int64)
        return _Batch(
            free, clusters, distances, values, texts,
            {tag: mine for tag, mine in rows.items() if tag in self._tests},
            classes,
            {tag: len(mine) for tag, mine in rows.items() if tag not in self._tests},
        )  # fmt: skip

    def _count(self, batch: _Batch) -> tuple[list[Look], list[DriftEvent]]:
        looks: list[Look] = []
        events: list[DriftEvent] = []

        def note(look: Look, clear_after: int, reference_value: float | None = None) -> None:
            looks.append(look)
            kind = self._streams[look.stream].judge(look, clear_after)
            if kind:
                events.append(DriftEvent(kind, look, reference_value, self._told(look.stream)))

        for tag, rows in batch.rows.items():
            for look, clear_after, reference_value in self._tests[tag].looks(batch, rows):
                note(look, clear_after, reference_value)
        mix = self._streams[MIX]
        for full in mix.window.add(batch.classes, np.zeros(len(batch.classes), dtype=bool)):
            if full and self._mix_test is not None:
                note(self._divergence_look(MIX, "languages", self._mix_test), self._blocks)
        return looks, events

    def _divergence_look(self, name: str, test: str, calibrated: HistogramTest) -> Look:
        stream = self._streams[name]
        # Between a drift and its end only the calibrated p-value is looked at: no new alarm can come of it.
        on = test in stream.alarms
        window = stream.window
        seed = self.seed_of(name, test, window.looks)
        result = calibrated.test(window.counts, seed=seed, screen_only=on)
        alarm = result.divergence > calibrated.threshold_ if on else result.exact and result.p_value <= calibrated.alpha
        return Look(
            name,
            test,
            window.prompts,
            result.divergence,
            calibrated.threshold_,
            result.p_value,
            calibrated.alpha,
            alarm,
        )

    def _choose(self, batch: _Batch) -> list[NewPrompt]:
        mode, size = self.config.reservoir, self.config.reservoir_size
        if mode == "off" or batch.texts is None:
            return []
        kept = []
        for tag, rows in batch.rows.items():
            position = self._streams[tag].window.prompts - len(rows)
            rng = np.random.default_rng([self.seed, zlib.crc32(tag.encode()), len(TESTS), position])
            ranks = sampling_ranks(len(rows), position, self.config.window, rng)
            best = np.argsort(-ranks)[:size]
            for i in np.sort(best[ranks[best] > self._ranks.get(tag, -np.inf)]):
                text = batch.texts[rows[i]]
                text = redact(text, tag) if mode == "redacted" else text
                kept.append(NewPrompt(storable(text), tag, int(batch.clusters[rows[i]]), mode, float(ranks[i])))
        return kept

    def _told(self, name: str) -> Explanation | None:
        window = self._streams[name].window
        if not window.full:
            return None
        if name == MIX:
            counts = np.array([self.reference.mix.get(tag, 0) for tag in self._classes], dtype=np.int64)
            return explain(counts, window.counts, names=self._classes)
        return explain(
            self.reference.languages[name].counts, window.counts, names=self._names, reference_examples=self._examples
        )

    def _with_examples(self, event: DriftEvent) -> Explanation | None:
        return self._add_examples(event.look.stream, event.explanation) if event.explanation else None

    def _add_examples(self, name: str, found: Explanation) -> Explanation:
        if name == MIX or self.config.reservoir == "off":
            return found
        grew = tuple(
            replace(shift, examples=tuple(row.text for row in self._state.prompts(name, cluster=shift.cluster, most=3)))
            for shift in found.grew
        )
        return replace(found, grew=grew)


@dataclass(frozen=True, eq=False)
class _Batch:
    free: FloatArray
    clusters: IntArray
    distances: RealArray
    losses: RealArray
    texts: Sequence[str] | None
    rows: Mapping[str, npt.NDArray[np.intp]]
    """Rows of each watched language."""
    classes: IntArray
    """(n,) class of each row's language in the mix."""
    unwatched: Mapping[str, int]

    @property
    def touched(self) -> set[str]:
        return {*self.rows, MIX}


class _Stream:
    """Window, losses and alarms of one stream: all that is stored of it."""

    def __init__(self, window: BlockWindow) -> None:
        self.window = window
        self.labelled = 0
        self.losses: list[float] = []
        """The newest, at most `feedback_window`."""
        self.first_losses: list[float] = []
        """The reference where none was given."""
        self.alarms: dict[str, dict[str, int]] = {}
        """Test -> since when (prompts of the stream), and quiet looks in a row."""
        self.last: dict[str, Look] = {}

    def judge(self, look: Look, clear_after: int) -> str:
        """Note a look; return `drift` for a new alarm, `recovered` after enough quiet looks, else an empty text."""
        self.last[look.test] = look
        on = self.alarms.get(look.test)
        if look.alarm:
            self.alarms[look.test] = {"since": on["since"] if on else look.prompts, "quiet": 0}
            return "" if on else "drift"
        if on:
            on["quiet"] += 1
            if on["quiet"] >= clear_after:
                del self.alarms[look.test]
                return "recovered"
        return ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "window": self.window.to_dict(),
            "labelled": self.labelled,
            "losses": self.losses,
            "first_losses": self.first_losses,
            "alarms": self.alarms,
            "last": {test: dict(vars(look)) for test, look in self.last.items()},
        }

    @classmethod
    def of(cls, stored: dict[str, Any] | None, k: int, block: int, blocks: int) -> _Stream:
        if stored is None:
            return cls(BlockWindow(k, block=block, blocks=blocks))
        stream = cls(BlockWindow.from_dict(stored["window"], k, block=block, blocks=blocks))
        stream.labelled = stored["labelled"]
        stream.losses, stream.first_losses = list(stored["losses"]), list(stored["first_losses"])
        stream.alarms = {test: dict(alarm) for test, alarm in stored["alarms"].items()}
        stream.last = {test: Look(**look) for test, look in stored["last"].items()}
        return stream


class _LanguageTests:
    """The tests of one language, calibrated once."""

    def __init__(self, monitor: Monitor, language: str, reference: LanguageReference) -> None:
        self.monitor, self.language, self.reference = monitor, language, reference
        config, alphas = monitor.config, monitor._alphas
        self.histogram: HistogramTest | None = None
        if alphas["histogram"] > 0:
            self.histogram = HistogramTest.calibrate(
                reference.counts, config.window, alpha=alphas["histogram"],
                seed=monitor.seed_of(language, "histogram", 0),
            )  # fmt: skip
        self.novelty = NoveltyTest.fit(reference.distances, config.window, tail=config.novelty_tail)

    def looks(self, batch: _Batch, rows: npt.NDArray[np.intp]) -> Iterator[tuple[Look, int, float | None]]:
        """Count the rows of a batch; yield each look, the quiet looks that end its alarm, the reference's value."""
        monitor, config = self.monitor, self.monitor.config
        stream = monitor._streams[self.language]
        alphas = monitor._alphas
        for full in stream.window.add(batch.clusters[rows], self.novelty.novel(batch.distances[rows])):
            if not full:
                continue
            if self.histogram is not None:
                yield monitor._divergence_look(self.language, "histogram", self.histogram), monitor._blocks, None
            if alphas["novelty"] > 0:
                novel, alpha = stream.window.novel, alphas["novelty"]
                p_value = self.novelty.p_value(novel)
                look = Look(
                    self.language, "novelty", stream.window.prompts, novel / config.window,
                    self.novelty.threshold(alpha), p_value, alpha, p_value <= alpha,
                )  # fmt: skip
                yield look, monitor._blocks, self.novelty.reference_rate
        if alphas["vectors"] > 0:
            sample = monitor._samples[self.language].add(batch.free[rows])
            if sample is not None:
                yield self._vector_look(stream, sample), 2, None
        if alphas["loss"] > 0:
            for value in batch.losses[rows][~np.isnan(batch.losses[rows])]:
                yield from self._loss_looks(stream, float(value))

    def _vector_look(self, stream: _Stream, sample: FloatArray) -> Look:
        alpha = self.monitor._alphas["vectors"]
        seed = self.monitor.seed_of(self.language, "vectors", stream.window.looks)
        reference = self.reference.vectors[: self.monitor.config.vector_rows]
        result = mmd_test(sample, reference, most=draws_for(alpha), seed=seed)
        return Look(
            self.language, "vectors", stream.window.prompts, result.mmd, None, result.p_value, alpha,
            result.p_value <= alpha,
        )  # fmt: skip

    def _loss_looks(self, stream: _Stream, value: float) -> Iterator[tuple[Look, int, float | None]]:
        monitor, most = self.monitor, self.monitor.config.feedback_window
        if not len(self.reference.losses) and len(stream.first_losses) < most:
            stream.first_losses.append(value)
            return
        stream.labelled += 1
        stream.losses = [*stream.losses[-(most - 1) :], value]
        if len(stream.losses) < most or stream.labelled % monitor._loss_step:
            return
        reference = self.reference.losses if len(self.reference.losses) else np.array(stream.first_losses)
        alpha = monitor._alphas["loss"]
        p_value = loss_p_value(
            stream.losses,
            reference,
            most=draws_for(alpha),
            seed=monitor.seed_of(self.language, "loss", stream.labelled),
        )
        look = Look(
            self.language, "loss", stream.window.prompts, float(np.mean(stream.losses)), None, p_value, alpha,
            p_value <= alpha,
        )  # fmt: skip
        yield look, LOSS_LOOKS, float(reference.mean())


def storable(text: str) -> str:
    """Return a text as every database takes it: no NUL, which PostgreSQL refuses, and no lone surrogate."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def check_config(config: MonitorConfig) -> None:
    """Raise ConfigError with every option of a monitor that is out of range or does not go with another."""
    problems = []
    for knob in fields(config):
        value, meta = getattr(config, knob.name), knob.metadata
        if "choices" in meta and value not in meta["choices"]:
            problems.append(f"{knob.name} must be one of {', '.join(meta['choices'])}; got {value!r}")
        if "low" in meta and value < meta["low"]:
            problems.append(f"{knob.name} must be at least {meta['low']:g}; got {value!r}")
        if "high" in meta and value > meta["high"]:
            problems.append(f"{knob.name} must be at most {meta['high']:g}; got {value!r}")
    if config.look_every >= 1 and config.window % config.look_every:
        problems.append(f"window must be a multiple of look_every; got {config.window} and {config.look_every}")
    total = sum(getattr(config, f"share_{test}") for test in TESTS)
    if total > 1.0 + 1e-9:
        problems.append(
            "share_histogram and the other shares must sum to 1 at most, or the promise on false alarms does not hold; "
            f"they sum to {total:g}"
        )
    if problems:
        raise ConfigError(problems)
