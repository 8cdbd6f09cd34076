"""Count a monitor's batches so that no prompt, and no failure on one batch, ends the stream.

What fails is given up only when something else shows that the failure is its own: a prompt when the encoder can still
encode another text, a batch when a later one was counted. What is given up is counted by reason. Where nothing else
works either, the monitor stops with an error, and the same prompts are read again at the next start.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compass.drift import InputBatch, Monitor, Observed, Skipped
from compass.drift.log_lines import Record
from compass.drift.results import ELSEWHERE
from compass.encoders import CachedEncoder
from compass.errors import CompassError, EncoderError, MonitorError
from compass.semantic.arrays import FloatArray
from compass.steps.reference import prompt_language

logger = logging.getLogger(__name__)

PROBE = "Good morning."
"""A text that any encoder takes; used where no prompt or example of a cluster is known that this one took."""
MOST_IN_A_ROW = 1000
"""So many prompts, none of which the encoder took, are no longer a matter of single prompts [ours]."""


class Counting:
    """Counts batch after batch, whichever monitor counts them.

    language: of untagged prompts. known: a text that the encoder took before, to see whether it still works.
    """

    def __init__(self, language: str, known: str = "") -> None:
        self.skipped_lines = 0
        """Lines of the input that were passed over so far."""
        self.prompts = 0
        """Prompts that were counted so far."""
        self.version = 0
        """Number of the version that is watched: feedback on others says nothing of it. 0: all count."""
        self._language = language
        self._known = known or PROBE
        self._failed_in_a_row = 0
        """Prompts that the encoder did not take since it took one."""
        self._held: InputBatch | None = None
        """A batch that could not be counted, until another one is."""
        self._held_for = ""

    def count(self, watching: Monitor, encoder: CachedEncoder, batch: InputBatch) -> Observed:
        """Encode a batch, with no trace in the cache on disk, and let the monitor count it.

        Raises EncoderError if the encoder takes nothing any more, MonitorError if the state can't be written, or if two
        batches in a row can't be counted.
        """
        told = self._count_labels(watching, batch)
        own = [record for record in batch.records if record.served in ("", self._language)]
        others = [record for record in batch.records if record.served not in ("", self._language)]
        elsewhere = (Skipped(ELSEWHERE, len(others), others[0].place),) if others else ()
        records, vectors, failed = self._encoded(encoder, own, watching.reference.space.dimensions)
        given_up = self._given_up()
        try:
            seen = watching.observe(
                vectors,
                [prompt_language(record.language, self._language) for record in records],
                texts=[record.prompt for record in records],
                losses=[record.loss for record in records],
                sessions=[record.session for record in records],
                times=[record.at for record in records],
                position=batch.position,
                skipped=(*given_up, *batch.skipped, *failed, *elsewhere),
            )
        except CompassError:
            raise
        except Exception as error:
            self._hold(batch, error)
            return Observed(0, repeated=False)
        self._held = None
        if not seen.repeated:
            self.prompts += seen.prompts
            lost = sum(skip.n for skip in given_up)
            self.skipped_lines += lost + batch.skipped_lines + len(own) - seen.prompts - seen.repeats
        return replace(seen, checks=(*told.checks, *seen.checks), events=(*told.events, *seen.events))

    def _count_labels(self, watching: Monitor, batch: InputBatch) -> Observed:
        """Count what users say of the version's answers; each counts once, also where a batch is read again."""
        found = [
            watching.observe_label(label.of, prompt_language("", self._language), label.loss)
            for label in batch.labels
            if label.language == self._language and self.version in (0, label.version)
        ]
        return Observed(
            0, False, tuple(check for one in found for check in one.checks),
            tuple(event for one in found for event in one.events),
        )  # fmt: skip

    def finish(self, watching: Monitor) -> None:
        """End the stream. Raises MonitorError if its last batch could not be counted; of standard input it is noted."""
        if self._held is None:
            return
        again = "it is read again at the next start"
        if self._held.position is None:
            nothing = np.empty((0, watching.reference.space.dimensions), dtype=np.float32)
            watching.observe(nothing, [], skipped=self._given_up())
            again = "it can't be read again, and is among the skipped"
        self._held = None
        raise MonitorError(f"The last batch of prompts could not be counted ({self._held_for}); {again}.")

    def _encoded(
        self, encoder: CachedEncoder, records: Sequence[Record], dimensions: int
    ) -> tuple[list[Record], FloatArray, list[Skipped]]:
        """Encode all prompts that can be. Returns them, their (n, d) vectors, and why others can't."""
        if not records:
            return [], np.empty((0, dimensions), dtype=np.float32), []
        try:
            vectors = encoder.encoder.encode([record.prompt for record in records])
        except Exception as error:
            self._probe(encoder, error)
            if len(records) == 1:
                return [], np.empty((0, dimensions), dtype=np.float32), [self._failure(records[0], error)]
            half = len(records) // 2
            first, second = (self._encoded(encoder, part, dimensions) for part in (records[:half], records[half:]))
            return first[0] + second[0], np.concatenate([first[1], second[1]]), first[2] + second[2]
        self._failed_in_a_row, self._known = 0, records[-1].prompt
        return list(records), vectors, []

    def _probe(self, encoder: CachedEncoder, error: Exception) -> None:
        """Raise EncoderError if the encoder does not take what it took before either."""
        try:
            encoder.encoder.encode([self._known])
        except CompassError:
            raise
        except Exception as again:
            raise EncoderError(
                f"The encoder {encoder.name} fails on texts that it took before ({type(again).__name__}). Nothing is "
                "lost: files are read again from here at the next start. Check the encoder."
            ) from error

    def _failure(self, record: Record, error: Exception) -> Skipped:
        """Count a prompt that the encoder does not take. Raises EncoderError if it has not taken one for long."""
        kind = type(error).__name__
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= MOST_IN_A_ROW:
            raise EncoderError(
                f"The encoder did not take {self._failed_in_a_row} prompts in a row ({kind}), the last at "
                f"{record.place}. Nothing of this batch is lost: files are read again from there at the next start. "
                "Check the encoder."
            ) from error
        logger.warning("%s skipped: the encoder fails on it (%s)", record.place or "A prompt", kind)
        return Skipped(f"the encoder fails on the prompt ({kind})", 1, record.place)

    def _hold(self, batch: InputBatch, error: Exception) -> None:
        kind = type(error).__name__
        if self._held is not None:
            raise MonitorError(
                f"Two batches of prompts in a row could not be counted ({self._held_for}; {kind}). Nothing of them is "
                "lost: files are read again from there at the next start."
            ) from error
        logger.warning("A batch of %d prompts could not be counted (%s); going on", len(batch.records), kind)
        logger.debug("Its error:", exc_info=error)
        self._held, self._held_for = batch, kind

    def _given_up(self) -> tuple[Skipped, ...]:
        """Return what is to be counted of the batch that is held, once another one is counted."""
        if self._held is None:
            return ()
        records = self._held.records
        lost = Skipped(f"its batch could not be counted ({self._held_for})", len(records), records[0].place)
        return (*self._held.skipped, lost) if records else self._held.skipped
