"""From a candidate's own measurements to a decision: what the gate compares, and promotion by it."""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import TYPE_CHECKING

from compass.config import GATE_ROLES, GateConfig, GateRole, MeasuredTest
from compass.data.languages import same_language
from compass.errors import CompassError, LanguageError, RegistryError
from compass.evaluation import items
from compass.evaluation.files import read_evaluation
from compass.registry import GateDecision, HeldOut, Move, Registry, Version, decide
from compass.runs import layout
from compass.runs.files import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)


def promote(
    registry: Registry,
    language: str,
    name: str = "candidate",
    *,
    gate: GateConfig,
    reason: str = "",
    ask_the_gate: bool = True,
    seed: int = 0,
) -> tuple[Move | None, GateDecision | None]:
    """Promote a version if the gate lets it pass. Returns the move, None where the gate did not, and its decision.

    A first version has nothing to be compared with and passes. Raises RegistryError if the candidate is in production
    already, or was not measured against the version that is.
    """
    current = registry.aliases(language).current
    if not ask_the_gate or not current:
        return registry.promote(language, name, reason=reason), None
    candidate = registry.get(language, name)
    if candidate.id == current:
        raise RegistryError(f"{candidate.id} is in production already. There is nothing to promote.")
    try:
        baseline = registry.get(language, current)
    except RegistryError as error:
        raise RegistryError(
            f"The gate can't compare with {current}, which is in production. {error} Restore it from a backup, or "
            "promote with --without-gate."
        ) from error
    decision = decide(
        held_out_sets(candidate, baseline),
        gate,
        seed=seed,
        candidate=candidate.id,
        baseline=baseline.id,
    )
    if not decision.promotes:
        return None, decision
    return registry.promote(language, candidate.id, decision=decision, reason=reason), decision


def keep_mirror(registry: Registry, language: str, uri: str) -> None:
    """Make the MLflow registry say the same, where one is named; ours decides, so that a failure is only logged."""
    from compass.registry import mirror

    if uri:
        try:
            mirror(registry, language, uri)
        except CompassError as error:
            logger.warning("The MLflow registry is not up to date, and will be after the next event: %s", error)


def held_out_sets(candidate: Version, baseline: Version, *, roles: Sequence[GateRole] = GATE_ROLES) -> list[HeldOut]:
    """Return the rows on which an update measured itself and its parent, by role; scores are exact matches.

    Roles go by the test's name, by the table in `config.gate_roles`: the language itself is the new usage, `cy-N` with
    the highest N is what it was made for before this update, those below are earlier periods, `en` or `english` is
    English. Tests of other languages are measured and reported, and decide nothing: the adapter is this language's.
    """
    if candidate.parent != baseline.id:
        raise RegistryError(
            f"{candidate.id} was made from {candidate.parent or 'no version'} and measured against it, but "
            f"{baseline.id} is in production. Update from that one, or promote with --without-gate."
        )
    if not (candidate.folder / layout.PARENT_EVALUATION).is_dir():
        raise RegistryError(
            f"{candidate.id} was not measured against its parent: it was not made by compass update. Promote it with "
            "--without-gate if you know that it is better."
        )
    measured = read_json(candidate.folder / layout.LOCK, dict).get("parent", {}).get("adapter")
    serving, _size = baseline.files[layout.ADAPTER_WEIGHTS]
    if measured != serving:
        raise RegistryError(
            f"{candidate.id} says that it was made from {baseline.id}, but it was measured against another adapter "
            f"({(measured or 'none')[:12]}, not {serving[:12]}). Update from the version in production (its run folder "
            f"is {baseline.folder}), or promote with --without-gate."
        )
    names = read_json(candidate.folder / layout.TEST_NAMES, list)
    sets = []
    for test, role in roles_of(names, candidate.language, roles).items():
        before = read_evaluation(candidate.folder / layout.PARENT_EVALUATION / f"{test}.json")
        after = read_evaluation(candidate.folder / layout.ADAPTER_EVALUATION / f"{test}.json")
        had, has = (scored.scores.exact.astype(float) for scored in (before, after))
        sets.append(HeldOut(test, role, had, has, units=items(before.examples)))
    return sets


def roles_of(names: Sequence[str], target: str, roles: Sequence[GateRole] = GATE_ROLES) -> dict[str, str]:
    """Return the role of each test set that has one, by the test's name. target: the version's language."""
    latest = max((_period(name, target) for name in names), default=-1)
    found = {}
    for name in names:
        test = MeasuredTest(name, target, partial(_is_in, name), _period(name, target), latest)
        role = next((role.name for role in roles if role.has(test)), "")
        if role:
            found[name] = role
    return found


def _is_in(name: str, language: str) -> bool:
    try:
        return same_language(name, language)
    except LanguageError:  # a file's name that is no tag
        return False


def _period(test: str, language: str) -> int:
    found = re.fullmatch(re.escape(language) + r"-(\d+)", test)
    return int(found[1]) if found else -1
