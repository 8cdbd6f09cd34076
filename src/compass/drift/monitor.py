"""The monitor: count each prompt once, test the windows when they have moved on, say what changed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.config import MonitorConfig, MonitorOptions, validate
from compass.config.monitor import CHECKS_EVERY
from compass.data.redaction import check_installed
from compass.drift.catalogue import default_tests, describe
from compass.drift.explain import EXAMPLES_SHOWN, Explanation
from compass.drift.incoming import Incoming, Repeats, SessionNumbers
from compass.drift.level import total_share
from compass.drift.protocol import DriftTest, Prompts, Stream
from compass.drift.reference import LanguageReference, Reference, background, place
from compass.drift.reservoir import MODES_ALLOWED, Reservoir, redacted
from compass.drift.results import (
    ELSEWHERE,
    LARGEST_LOSS,
    MIX,
    NO_LOSS,
    REPEATED,
    Check,
    DriftEvent,
    Observed,
    Skipped,
    by_reason,
)
from compass.drift.state import KeptPrompt, MonitorState, NewPrompt, Position
from compass.drift.streams import StreamMonitor
from compass.semantic.arrays import FloatArray

logger = logging.getLogger(__name__)

OTHER = "other"
"""Category of the languages that the reference does not have."""
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
        tests: Sequence[DriftTest] | None = None,
        checks_every: int | None = None,
    ) -> None:
        """Open the state, or make it, and go on where it ends.

        database: SQLAlchemy URL; cluster_names: K or none; reference_examples: cluster -> texts, to show what shrank;
        restart: forget windows, alarms and kept prompts of an earlier reference, but not what input was counted;
        tests: unfitted, by default every registered one; checks_every: prompts in a block, which divides the window;
        None: as the stored windows have it.
        Raises ConfigError for wrong options, MonitorError if the state belongs to another reference or can't be used.
        """
        validate(MonitorOptions(config))
        if checks_every and config.window % checks_every:
            raise ValueError(f"checks_every must divide the window of {config.window} prompts; got {checks_every}.")
        if config.reservoir == "redacted":
            check_installed()
        self._state = MonitorState(database, name)
        if checks_every is None:
            stored = None if restart else self._state.stored_option("look_every")
            checks_every = int(stored or CHECKS_EVERY)
        tests = default_tests() if tests is None else tuple(tests)
        if len({test.name for test in tests}) < len(tests):
            raise ValueError(f"Each drift test needs its own name; got {', '.join(test.name for test in tests)}.")
        self.reference, self.config, self._clock = reference, config, clock
        self._reservoir = Reservoir(config.reservoir, config.reservoir_size, config.window, seed)
        self._languages = [*sorted(reference.mix), OTHER]
        """Categories of the mix."""
        self._sessions = SessionNumbers()
        self._repeats = Repeats(
            config.window, {tag: (n, reference.mix[tag]) for tag, n in reference.most_repeated.items()}
        )
        stream = partial(
            Stream,
            window=config.window,
            block=checks_every,
            prompts_per_false_alarm=config.prompts_per_false_alarm,
            total_share=total_share(test.share for test in tests),
            base_seed=seed,
        )
        self._streams = {
            tag: StreamMonitor(
                stream(
                    tag,
                    rows,
                    centroids=reference.space.centroids_,
                    background=background(reference, tag, config.window),
                ),
                tests,
                names=cluster_names,
                examples=reference_examples,
            )
            for tag, rows in reference.languages.items()
        }
        mix = stream(MIX, _mix(reference, self._languages), background=background(reference, MIX, config.window))
        self._streams[MIX] = StreamMonitor(mix, tests, names=self._languages)
        # By the names of version 0.1: what the stored windows depend on.
        self._options: dict[str, Any] = {
            "prompts_per_false_alarm": config.prompts_per_false_alarm,
            "window": config.window,
            "look_every": checks_every,
        }
        for test in tests:
            self._options |= test.settings()
        self._prompts = 0
        self._lowest_ranks: dict[str, float] = {}
        """Rank to beat in each language's reservoir that is full."""
        self._stale = False
        """Whether the windows in memory may be ahead of the database."""
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
        sessions: Sequence[str] | None = None,
        times: npt.ArrayLike | None = None,
        batch_id: str | None = None,
        position: Position | None = None,
        skipped: Sequence[Skipped] = (),
    ) -> Observed:
        """Count one batch of prompts, in their order, and test each window that has moved on.

        vectors: (n, d) encoder vectors; languages: n tags; texts: n prompts, for the reservoir and to see repeats;
        losses: n, NaN where there is no label; sessions: n ids, empty where there is none; times: n, seconds since
        1970, NaN where unknown; skipped: lines between them that could not be used. A prompt without a finite vector or
        with a loss out of range is passed over and counted by reason, and so are a check of a test that fails and what
        one sender repeats.
        A batch with a `batch_id` or a `position` that was counted before is not counted again; all that a batch changes
        is written in one transaction, or nothing. Raises DataError for wrong shapes, MonitorError if the state can't be
        written or a test fails again and again.
        """
        batch = Incoming.of(vectors, languages, texts, losses, sessions, times)
        if self._stale:
            self._load()
        if self._state.counted(batch_id, position):
            return Observed(0, repeated=True)
        batch, unusable = batch.usable()
        batch, repeats = self._repeats.leave_out(batch)
        by_stream, unwatched = self._split(batch)
        # Set until the batch is written: windows that ran ahead of the database are read back from it.
        self._stale = True
        checks: list[Check] = []
        events: list[DriftEvent] = []
        kept: list[NewPrompt] = []
        for name, prompts in by_stream.items():
            before = self._streams[name].window.prompts
            for check, event in self._streams[name].observe(prompts):
                checks.append(check)
                events += [event] if event else []
            if name != MIX:
                lowest = self._lowest_ranks.get(name, -math.inf)
                kept += self._reservoir.choose(prompts, name, before=before, lowest_rank=lowest)
        own = by_reason(
            (*unusable, *repeats, *(skip for name in by_stream for skip in self._streams[name].failed.values()))
        )
        now = self._clock()
        written = self._state.write(
            prompts=len(batch),
            streams={name: self._streams[name].to_dict() for name in by_stream},
            checks=[check.to_dict() for check in checks],
            events=[event.to_dict(examples=False) for event in events],
            blocks=[(name, block) for name in by_stream for block in self._streams[name].filled],
            kept=kept,
            reservoir_size=self.config.reservoir_size,
            oldest=self._oldest(now),
            at=now,
            batch=batch_id,
            position=position,
            skipped=by_reason((*skipped, *own)),
        )
        if not written:
            return Observed(0, repeated=True)
        self._stale = False
        self._prompts += len(batch)
        if kept:
            self._lowest_ranks = self._state.lowest_ranks(self.config.reservoir_size)
        for event in events:
            logger.debug("%s", describe(event))
        shown = tuple(
            replace(event, explanation=self._with_examples(event.check.stream, event.explanation)) for event in events
        )
        n_repeats = sum(skip.n for skip in repeats)
        return Observed(len(batch), False, tuple(checks), shown, n_repeats, unwatched, own)

    def observe_label(self, label_id: str, language: str, loss: float) -> Observed:
        """Count a loss that became known after its prompt was counted, once for each id.

        label_id: of the prompt or its answer; its latest 100,000 are remembered. A language without a reference and a
        loss out of range are passed over. Raises MonitorError if the state can't be written.
        """
        if self._stale:
            self._load()
        batch = f"label {label_id}"
        if self._state.counted(batch, None):
            return Observed(0, repeated=True)
        if language not in self.reference.languages:
            return Observed(0, False, unwatched={language: 1})
        if not abs(loss) <= LARGEST_LOSS:
            return Observed(0, False, skipped=(Skipped(NO_LOSS, 1, "a label"),))
        self._stale = True
        found = list(self._streams[language].observe_labels(np.array([float(loss)])))
        checks, events = [check for check, _ in found], [event for _, event in found if event]
        failed = tuple(self._streams[language].failed.values())
        written = self._state.write(
            prompts=0, streams={language: self._streams[language].to_dict()},
            checks=[check.to_dict() for check in checks],
            events=[event.to_dict(examples=False) for event in events],
            blocks=[], kept=[], reservoir_size=self.config.reservoir_size, oldest=self._oldest(self._clock()),
            at=self._clock(), batch=batch, position=None, skipped=failed,
        )  # fmt: skip
        if not written:
            return Observed(0, repeated=True)
        self._stale = False
        return Observed(0, False, tuple(checks), tuple(events), skipped=failed)

    def status(self) -> dict[str, Any]:
        """Return where each stream stands, JSON-ready; what was not written does not count."""
        if self._stale:
            self._load()
        skipped = {skip.reason: skip.n for skip in self._state.skipped()}
        return {
            "prompts": self._prompts,
            "skipped": {reason: n for reason, n in skipped.items() if reason not in (REPEATED, ELSEWHERE)},
            "repeats": skipped.get(REPEATED, 0),
            "answered_elsewhere": skipped.get(ELSEWHERE, 0),
            "drift": any(stream.alarms for stream in self._streams.values()),
            "prompts_per_false_alarm": self.config.prompts_per_false_alarm,
            "streams": {name: stream.status() for name, stream in self._streams.items()},
        }

    def warnings(self) -> list[str]:
        """Return what people should know of the reference, a sentence each."""
        return [
            f"{name}: {said}"
            for name, stream in self._streams.items()
            if name != MIX
            for said in stream.background.warnings()
        ]

    def skipped(self) -> list[Skipped]:
        """Return what was passed over since the state was made, the most frequent reason first."""
        return self._state.skipped()

    def explain(self, stream: str) -> Explanation | None:
        """Say which clusters (for `*`: languages) of a stream's window grew and shrank; None before it is full."""
        return self._with_examples(stream, self._streams[stream].explain())

    def kept_prompts(self, language: str, *, most: int | None = None) -> list[KeptPrompt]:
        """Return what the reservoir holds of a language, newest first: the usage that an update starts from."""
        self.purge()
        return self._state.prompts(language, most=most)

    def suggest(self, language: str, stands_for: Mapping[str, int]) -> None:
        """Note which kept prompts of a language a person should answer first. stands_for: kept prompts by text."""
        self._state.suggest(language, stands_for)

    def purge(self) -> int:
        """Delete kept prompts that are older than the retention time or that the option `reservoir` does not allow.

        Every write and every start do it too; call it where no prompts come for long. Returns how many went.
        """
        return self._state.purge(modes=MODES_ALLOWED[self.config.reservoir], oldest=self._oldest(self._clock()))

    def offsets(self) -> dict[str, Position]:
        """Return how far each file was counted, by name."""
        return self._state.offsets()

    def checks(self) -> list[dict[str, Any]]:
        """Return the newest checks, oldest first, JSON-ready."""
        return self._state.checks()

    def events(self) -> list[dict[str, Any]]:
        """Return the newest events, oldest first, each with its id, JSON-ready and without texts."""
        return self._state.events()

    def _load(self, *, restart: bool = False) -> None:
        self._repeats.forget()
        self._prompts, stored = self._state.begin(self.reference.identity, self._options, restart=restart)
        for name, stream in self._streams.items():
            stream.restore(stored.get(name, {}))
        self.purge()
        self._lowest_ranks = self._state.lowest_ranks(self.config.reservoir_size)
        self._stale = False

    def _split(self, batch: Incoming) -> tuple[dict[str, Prompts], dict[str, int]]:
        """Place a batch in the space; return its prompts by stream, and the counts of languages that have none."""
        free, clusters, distances = place(self.reference.space, batch.vectors, batch.languages)
        sessions = self._sessions.of(batch.sessions)
        everything = Prompts(free, clusters, distances, batch.losses, batch.texts, sessions, batch.times)
        found, index = np.unique(np.asarray(batch.languages, dtype=str), return_inverse=True)
        number = {tag: i for i, tag in enumerate(self._languages)}
        numbers = np.array([number.get(str(tag), number[OTHER]) for tag in found], dtype=np.int64)
        by_stream, unwatched = {}, {}
        for i, tag in enumerate(map(str, found)):
            rows = np.flatnonzero(index == i)
            if tag in self.reference.languages:
                by_stream[tag] = everything.take(rows)
            else:
                unwatched[tag] = len(rows)
        by_stream[MIX] = replace(everything, categories=numbers[index])
        return by_stream, unwatched

    def _oldest(self, now: float) -> float:
        return now - self.config.retention_days * SECONDS_PER_DAY

    def _with_examples(self, name: str, found: Explanation | None) -> Explanation | None:
        """Add kept prompts of each cluster that grew, private data replaced by its kind."""
        if found is None or name == MIX or self.config.reservoir == "off":
            return found
        grew = tuple(
            replace(
                shift,
                examples=redacted(
                    [row.text for row in self._state.prompts(name, cluster=shift.cluster, most=EXAMPLES_SHOWN)], name
                ),
            )
            for shift in found.grew
        )
        return replace(found, grew=grew)


def _mix(reference: Reference, languages: Sequence[str]) -> LanguageReference:
    """Return the reference of the mix of languages: of all prompts only the counts by language are known."""
    counts = np.array([reference.mix.get(tag, 0) for tag in languages], dtype=np.int64)
    nothing = np.empty(0)
    return LanguageReference(counts, nothing, np.empty((0, reference.space.dimensions), dtype=np.float32), nothing)
