"""The drift tests by name: each file of `compass/drift/tests` registers its own."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TypeVar

from compass.drift.protocol import DriftTest
from compass.drift.results import MIX, DriftEvent
from compass.drift.wording import story

PACKAGE = "compass.drift.tests"

_REGISTERED: dict[str, type[DriftTest]] = {}

T = TypeVar("T", bound=type[DriftTest])


def register(test: T) -> T:
    """Make a test one of the default tests, a class that takes no argument. Raises ValueError if its name is taken."""
    if _REGISTERED.setdefault(test.name, test) is not test:
        raise ValueError(f"There is already a drift test named {test.name!r}. Choose another name.")
    return test


def default_tests() -> tuple[DriftTest, ...]:
    """Return every registered test with its own defaults, unfitted, the largest share first."""
    for module in pkgutil.iter_modules(import_module(PACKAGE).__path__):
        import_module(f"{PACKAGE}.{module.name}")
    return tuple(sorted((make() for make in _REGISTERED.values()), key=lambda test: (-test.share, test.name)))


def describe(event: DriftEvent) -> str:
    """Return an event as one line for people, without any prompt."""
    check = event.check
    test = next((test for test in default_tests() if test.name == check.test), None)
    # A stored event may be of a test that is not registered here.
    what = test.describe(check.value) if test else f"{check.test} {check.value:.3g}"
    where = "the mix of languages" if check.stream == MIX else check.stream
    measured = f"{what} (p = {check.p_value:.2g}, level {check.alpha:.2g})"
    told = story(event.explanation, check.p_value) if event.explanation and event.kind == "drift" else []
    # What people understand comes first.
    return f"{event.kind} in {where} after {check.prompts} prompts: " + "; ".join([*told, measured])
