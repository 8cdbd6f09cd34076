"""What a person may do on the dashboard. Everything done, and everything refused, is an event of the registry."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from compass.config import GateConfig
from compass.dashboard.places import Places
from compass.dashboard.updates import Updates
from compass.drift.reading import mark
from compass.errors import CompassError
from compass.recipes.promote import keep_mirror, promote
from compass.registry import RegistryEvent
from compass.registry.events import ACTION
from compass.steps.watch_asked import Asked

logger = logging.getLogger(__name__)

PROMOTE, ROLLBACK, UPDATE, LABEL = "promote", "rollback", "update", "label"
LONGEST_REASON = 500
MOST_MARKED = 500
NOTHING = "none"
"""Says of `expected` that nothing was in production when the page was shown."""


class RefusedActionError(CompassError):
    """An action may not be done; the message says why."""


@dataclass(frozen=True)
class Wanted:
    """What somebody confirmed."""

    action: str
    language: str
    by: str
    """Name of their key."""
    reason: str = ""
    version: str = ""
    """Id that the page showed."""
    expected: str = ""
    """What was in production when the page was shown."""
    prompts: tuple[int, ...] = ()
    """Ids of kept prompts."""
    marks: bool = True
    """False takes marks back."""


@dataclass(frozen=True)
class Outcome:
    """What became of it, in words."""

    done: bool
    message: str
    version: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


class Actions:
    """Does what is wanted by the registry's own operations, one at a time for each language."""

    def __init__(self, places: Places, gate: GateConfig, updates: Updates) -> None:
        self.places, self.gate, self.updates = places, gate, updates

    def do(self, wanted: Wanted) -> Outcome:
        """Do it, or say why not, and put either on record."""
        try:
            outcome = _DO[wanted.action](self, wanted)
        except CompassError as error:
            outcome = Outcome(False, str(error), wanted.version)
        except OSError as error:
            outcome = Outcome(False, f"It can't be written to the disk: {error.strerror}.", wanted.version)
        self._record(wanted, outcome)
        return outcome

    def _promote(self, wanted: Wanted) -> Outcome:
        self._as_shown(wanted)
        registry = self.places.registry
        move, decision = promote(
            registry, wanted.language, wanted.version, gate=self.gate, reason=_reason(wanted), seed=0
        )
        details = {"decision": decision.to_dict()} if decision else {}
        if move is None:
            said = decision.reason if decision else ""
            verdict = decision.verdict if decision else ""
            return Outcome(False, f"The gate does not pass it ({verdict}). {said}", wanted.version, details)
        keep_mirror(registry, wanted.language, self.places.mlflow_uri)
        return Outcome(True, f"{move.after} is in production.", move.after, details)

    def _rollback(self, wanted: Wanted) -> Outcome:
        self._as_shown(wanted)
        registry = self.places.registry
        move = registry.rollback(wanted.language, to=wanted.version, reason=_reason(wanted))
        keep_mirror(registry, wanted.language, self.places.mlflow_uri)
        return Outcome(True, f"{move.after} is in production again, in place of {move.before}.", move.after)

    def _update(self, wanted: Wanted) -> Outcome:
        asked = Asked(wanted.by, datetime.now(UTC).isoformat(timespec="seconds"), wanted.reason)
        return Outcome(True, self.updates.start(wanted.language, asked))

    def _label(self, wanted: Wanted) -> Outcome:
        if not wanted.prompts:
            raise RefusedActionError("No prompt was chosen.")
        n = mark(
            self.places.monitor(wanted.language), wanted.prompts[:MOST_MARKED], wanted.language,
            by=wanted.by if wanted.marks else "", at=time.time(),
        )  # fmt: skip
        what = "marked for labelling" if wanted.marks else "no longer marked"
        if not n:
            state = "marked" if wanted.marks else "unmarked"
            raise RefusedActionError(f"Nothing to change: these prompts are already {state}, or no longer kept.")
        return Outcome(True, f"{n} {'prompt is' if n == 1 else 'prompts are'} {what}.", details={"prompts": n})

    def _as_shown(self, wanted: Wanted) -> None:
        """Refuse what was confirmed on a page that is out of date."""
        current = self.places.registry.aliases(wanted.language).current or NOTHING
        if wanted.expected != current:
            raise RefusedActionError(
                f"{current if current != NOTHING else 'Nothing'} is in production now, and the page showed "
                f"{wanted.expected or NOTHING}: somebody was faster. Look at the page again."
            )

    def _record(self, wanted: Wanted, outcome: Outcome) -> None:
        verb = _VERBS[wanted.action, wanted.marks]
        about = f" {wanted.version}" if wanted.version else ""
        message = f"{wanted.by} {verb}{about}: {outcome.message}"
        if not outcome.done:
            message = f"{wanted.by} was refused to {_INFINITIVES[wanted.action]}{about}: {outcome.message}"
        details = {
            "by": wanted.by, "action": wanted.action, "done": outcome.done, "reason": wanted.reason, **outcome.details,
        }  # fmt: skip
        try:
            event = RegistryEvent(ACTION, wanted.language, message, outcome.version, details)
            self.places.registry.record(event)
        except (CompassError, OSError) as error:
            logger.warning("An action is not on record: %s (%s)", message, error)
        logger.info("%s", message)


_DO = {
    PROMOTE: Actions._promote,
    ROLLBACK: Actions._rollback,
    UPDATE: Actions._update,
    LABEL: Actions._label,
}
_VERBS = {
    (PROMOTE, True): "promoted",
    (ROLLBACK, True): "rolled back to",
    (UPDATE, True): "asked for an update",
    (LABEL, True): "marked prompts",
    (LABEL, False): "took marks back",
}
_INFINITIVES = {PROMOTE: "promote", ROLLBACK: "roll back to", UPDATE: "start an update", LABEL: "mark prompts"}


def _reason(wanted: Wanted) -> str:
    said = f": {wanted.reason}" if wanted.reason else ""
    return f"{wanted.by}, on the dashboard{said}"


def ids_of(values: Sequence[str]) -> tuple[int, ...]:
    """Return the ids of prompts in a form; what is none is left out."""
    return tuple(int(value) for value in values if value.isascii() and value.isdecimal() and len(value) < 19)
