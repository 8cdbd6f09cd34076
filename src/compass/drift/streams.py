"""One stream of prompts: its window, the tests that watch it, and the alarms that stand."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.drift.background import Background
from compass.drift.compared import Begun, Compared
from compass.drift.declustering import REMEMBERED, SHORT, Declustering
from compass.drift.explain import Explanation, began, explain
from compass.drift.protocol import Batch, Cadence, DriftTest, Prompts, Stream
from compass.drift.results import Check, DriftEvent, Skipped
from compass.drift.traffic import NO_SESSION, SESSIONS, Dependence, Pairing
from compass.drift.window import Block, BlockWindow
from compass.errors import MonitorError
from compass.semantic.arrays import IntArray, RealArray

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3
"""A test that fails in so many batches without a check between them is broken, and the monitor stops [ours]."""


NO_CATEGORY = -1
"""In the place of a prompt that has an id, where those without are looked at."""


class StreamMonitor:
    """Counts the prompts of one stream, hands them to its tests, and turns their checks into events."""

    def __init__(
        self,
        stream: Stream,
        tests: Sequence[DriftTest],
        *,
        names: Sequence[str] = (),
        examples: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        """Fit a copy of each test of the stream's scope.

        names: of the categories, K or none; examples: category -> reference texts.
        """
        self.stream = stream
        self.tests = [copy.deepcopy(test) for test in tests if test.scope == stream.scope]
        self.background = stream.background or Background.independent(stream.reference.counts)
        self._pairing = Pairing(len(stream.reference.counts))
        self._recent: IntArray = np.empty(0, dtype=np.int64)
        """Categories of the latest prompts, NO_CATEGORY for those with an id."""
        self._model: Declustering | None = None
        """How they follow each other, estimated once a window."""
        self._compared: Compared | None = None
        """The latest full window in independent prompts, where prompts hang together."""
        self._names, self._examples = names, examples
        for test in self.tests:
            test.fit(stream)
        self.failed: dict[str, Skipped] = {}
        """Tests that failed in the latest batch: what is counted of it."""
        self.filled: list[dict[str, Any]] = []
        """Blocks that the latest batch filled, JSON-ready, for plots."""
        self.restore({})

    def observe(self, prompts: Prompts) -> Iterator[tuple[Check, DriftEvent | None]]:
        """Count prompts in their order; yield each check, and the event that it leads to, if any."""
        ends_block = False
        self.failed, self.filled = {}, []
        if len(prompts):
            prompts = self._paired(prompts)
        for span in self.window.spans(len(prompts)):
            part = prompts.take(span)
            ends_block = self._count(part)
            yield from self._test("block", part, ends_block)
        if len(prompts):
            yield from self._test("batch", prompts, ends_block)
        self._take_up_again()

    def observe_labels(self, losses: RealArray) -> Iterator[tuple[Check, DriftEvent | None]]:
        """Hand the losses of prompts that were counted before to the tests that take them. losses: (n,)."""
        none = np.empty(0, dtype=np.int64)
        nowhere = np.empty((0, self.stream.reference.vectors.shape[1]), dtype=np.float32)
        self.failed, self.filled = {}, []
        yield from self._test("batch", Prompts(nowhere, none, np.empty(0), losses, None), False, late=True)
        self._take_up_again()

    def _paired(self, prompts: Prompts) -> Prompts:
        """Note which prompts tell little that is new, and the pairs of each span."""
        sessions = prompts.sessions
        if sessions is None:
            sessions = np.full(len(prompts), NO_SESSION, dtype=np.int64)
        lesser, self._pairs = [], []
        for span in self.window.spans(len(prompts)):
            found, pairs = self._pairing.add(prompts.categories[span], sessions[span])
            lesser.append(found)
            self._pairs.append(pairs)
        if self._model and prompts.sessions is None:
            return replace(prompts, lesser=self._later(self._model, prompts.categories))
        return replace(prompts, lesser=np.concatenate(lesser))

    def _later(self, model: Declustering, categories: IntArray) -> npt.NDArray[np.bool_]:
        """Draw which of the next prompts go on with a session: as often as they probably do. categories: (n,)."""
        known = self.background.units.sum(axis=0)
        begin = model.follows(np.concatenate([self._recent, categories]), len(categories)).begin(known / known.sum())
        rng = np.random.default_rng(self.stream.seed("sessions", self.window.prompts))
        later: npt.NDArray[np.bool_] = rng.random(len(categories)) >= begin
        return later

    def _count(self, prompts: Prompts) -> bool:
        """Count a span; return whether it fills a block."""
        hours: dict[int, IntArray] = {}
        cycle = self.background.cycle
        if cycle and prompts.times is not None:
            strata, k = cycle.strata(prompts.times), self.window.categories
            for stratum in np.unique(strata[strata >= 0]).tolist():
                hours[stratum] = np.bincount(prompts.categories[strata == stratum], minlength=k)
        came = None if prompts.times is None or math.isnan(prompts.times[0]) else float(prompts.times[0])
        ends_block = self.window.add(prompts.categories, self._pairs.pop(0), hours, came)
        if ends_block:
            block = self.window.full[-1]
            self.filled.append(
                {"prompts": self.window.prompts, "counts": block.counts.tolist(), "began": block.began,
                 "space": self.stream.identity}
            )  # fmt: skip
        own = prompts.categories
        if prompts.sessions is not None:
            own = np.where(prompts.sessions >= 0, NO_CATEGORY, own)
        self._recent = np.concatenate([self._recent, own])[-REMEMBERED:]
        if ends_block and (whole := self.window.whole) is not None:
            if self._model is None or len(self._recent) < REMEMBERED or not self.window.number % self.stream.blocks:
                self._model = self._fitted(whole)
            self._compared = Compared.of(whole, self.background, self._begun(whole, self._recent))
        return ends_block

    def _fitted(self, window: Block) -> Declustering | None:
        """Estimate how prompts follow each other, from those before the window where there are enough of them.

        Those of the window are left out because a drift that has just begun is no dependence; until then, and where
        nothing is found, the reference's estimate is taken.
        """
        before = self._recent[: -self.stream.window]
        if len(before) < SHORT and self.background.declustering:
            return self.background.declustering
        rows = before if len(before) >= SHORT else self._recent
        suspected = Dependence.of(window.pairs, window.counts).found
        found = Declustering.fit(rows, self.background.affinity, suspected=suspected)
        return found or self.background.declustering

    def _if_sessions(self) -> Compared | None:
        """Compare the window as one of sessions that a young stream does not show beyond doubt; None if it shows none.

        It is asked before an alarm alone, so that steady prompts cost nothing, and drift of independent ones little.
        """
        whole, n = self.window.whole, len(self._recent)
        if self._compared is not None or whole is None or n >= 2 * SHORT:
            return None
        model = Declustering.fit(self._recent, self.background.affinity, in_doubt=True)
        size = int(whole.counts.sum())
        if model is None or n < size or (self._recent[-size:] == NO_CATEGORY).any():
            return None
        return Compared.of(whole, self.background, Begun.of(model, self._recent, whole.counts, self.background))

    def _begun(self, window: Block, recent: IntArray) -> Begun | None:
        """Return what begins in a window; None where its prompts have ids, or are independent."""
        n = int(window.counts.sum())
        if self._model is None or len(recent) < n or (recent[-n:] == NO_CATEGORY).any():
            return None
        return Begun.of(self._model, recent, window.counts, self.background)

    def explain(self) -> Explanation | None:
        """Say which categories of the window grew and shrank; None before it is full."""
        counts = self.window.counts
        if counts is None:
            return None
        reference, blocks = self.stream.reference.counts, self.window.full
        found = explain(reference, counts, names=self._names, reference_examples=self._examples)
        first = began(reference, [block.counts for block in blocks])
        return replace(found, began_prompts=(len(blocks) - first) * self.window.block, began_at=blocks[first].began)

    def status(self) -> dict[str, Any]:
        """Return where the stream stands, JSON-ready."""
        shown: dict[str, Any] = {"prompts": self.window.prompts, "window_full": self.window.counts is not None}
        shown["traffic"] = self._traffic()
        for test in self.tests:
            shown |= test.status()
        return shown | {
            "alarms": {test: alarm["since"] for test, alarm in self.alarms.items()},
            "last_checks": {test: check.to_dict() for test, check in self.last.items()},
        }

    def _traffic(self) -> dict[str, Any]:
        """Return how much the prompts say, and how they hang together, JSON-ready."""
        background, compared = self.background, self._compared
        n = self.stream.window
        return {
            "window": n,
            "effective_window": round(compared.effective if compared else n, 1),
            "effective_reference": round(background.effective, 1),
            "reference_prompts": background.rows,
            "reference_days": None if background.days is None else round(background.days, 2),
            "keeps_topic": round(max(background.persistence, compared.persistence if compared else 0.0), 3),
            "matched_by": background.cycle.name if background.cycle else None,
            "matched": bool(compared and compared.matched),
            "warnings": background.warnings(),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all that has to be stored, JSON-ready. Keys are those of version 0.1, and those of later tests."""
        self._stored = self._content(self.tests)
        return self._stored

    def _content(self, tests: Sequence[DriftTest]) -> dict[str, Any]:
        stored = {
            "window": self.window.to_dict(),
            "alarms": self.alarms,
            "last": {test: check.to_dict() for test, check in self.last.items()},
        }
        if len(self._recent):
            stored["recent"] = self._recent.tolist()
        if self._failures:
            stored["failures"] = dict(self._failures)
        for test in tests:
            test.save(stored)
        return stored

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Go on from what `to_dict` returned, or begin anew if it is empty. Raises MonitorError if it does not fit."""
        self.window = BlockWindow(len(self.stream.reference.counts), block=self.stream.block, blocks=self.stream.blocks)
        if stored:
            self.window.restore(stored["window"])
        # A test that is gone would keep its alarm for ever.
        names = {test.name for test in self.tests}
        self.alarms: dict[str, dict[str, int]] = {
            test: dict(alarm) for test, alarm in stored.get("alarms", {}).items() if test in names
        }
        """Test -> since when (prompts of the stream), and quiet checks in a row."""
        self.last = {test: Check.from_dict(check) for test, check in stored.get("last", {}).items() if test in names}
        """Latest check of each test."""
        self._stored = dict(stored)
        self.failed = {}
        self._failures: dict[str, int] = dict(stored.get("failures", {}))
        """Test -> batches that it failed in since its last check."""
        whole = self.window.whole
        self._recent, self._model = np.array(stored.get("recent", ()), dtype=np.int64), None
        self._compared = None
        if whole is not None:
            self._model = self._fitted(whole)
            full = len(self._recent) - self.window.prompts % self.window.block
            self._compared = Compared.of(whole, self.background, self._begun(whole, self._recent[: max(0, full)]))
        for test in self.tests:
            test.restore(stored)

    def _test(
        self, cadence: Cadence, prompts: Prompts, ends_block: bool, *, late: bool = False
    ) -> Iterator[tuple[Check, DriftEvent | None]]:
        window, compared = self.window, self._compared
        persistence = max(self.background.persistence, compared.persistence if compared else 0.0)
        batch = Batch(
            self.stream.name, prompts, window.prompts, window.number, ends_block, window.counts, self.alarms.keys(),
            compared, persistence >= SESSIONS, self._if_sessions,
        )  # fmt: skip
        for test in self.tests:
            if test.cadence != cadence or test.name in self.failed or (late and not test.late_labels):
                continue
            try:
                for check in test.observe(batch):
                    kind = self._judge(check, test.quiet_checks)
                    self._failures.pop(test.name, None)
                    yield check, DriftEvent(kind, check, self.explain()) if kind else None
            except Exception as error:
                # One test must end neither the stream nor the other tests; its message may quote what it was given.
                self._note_failure(test.name, error)

    def _note_failure(self, test: str, error: Exception) -> None:
        """Count a test that failed. Raises MonitorError where it does so again and again."""
        kind, place = type(error).__name__, f"{self.stream.name}, after {self.window.prompts} prompts"
        self._failures[test] = self._failures.get(test, 0) + 1
        if self._failures[test] >= FAILURES_IN_A_ROW:
            raise MonitorError(
                f"The drift test {test!r} failed in {self._failures[test]} batches without a check between them "
                f"({place}; {kind}). The last batch is not counted, and is read again at the next start. Mend the test."
            ) from error
        logger.warning("The drift test %s failed on %s (%s); the others go on", test, place, kind)
        logger.debug("Its error:", exc_info=error)
        self.failed[test] = Skipped(f"a check of the drift test {test} ({kind})", 1, place)

    def _take_up_again(self) -> None:
        """Let tests that failed go on from what was stored before the batch, beside the windows as they are now."""
        if not self.failed:
            return
        whole = [test for test in self.tests if test.name not in self.failed]
        content = {**self._stored, **self._content(whole)}
        for test in self.tests:
            if test.name in self.failed:
                test.restore(content)

    def _judge(self, check: Check, quiet_checks: int) -> str:
        """Note a check; return `drift` for a new alarm, `recovered` after enough quiet checks, else an empty text."""
        self.last[check.test] = check
        alarm = self.alarms.get(check.test)
        if check.alarm:
            self.alarms[check.test] = {"since": alarm["since"] if alarm else check.prompts, "quiet": 0}
            return "" if alarm else "drift"
        if alarm:
            alarm["quiet"] += 1
            if alarm["quiet"] >= quiet_checks:
                del self.alarms[check.test]
                return "recovered"
        return ""
