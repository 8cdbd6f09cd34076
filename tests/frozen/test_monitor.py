"""Each look of a monitor at its windows and each alarm, over 5,000 prompts, as in version 0.1."""

from __future__ import annotations

import pytest

from frozen import draws, stored
from frozen.calls import LOOK
from frozen.cases import FILES

CASES = FILES["monitor"]
STEADY = {"*": draws.STEADY, "cy": 0.55 * draws.STEADY, "de": 0.36 * draws.STEADY}
"""Prompts of each stream before anything changes, at least."""


@pytest.mark.parametrize("case", CASES)
def test_looks_and_events_are_those_of_version_0_1(case: str) -> None:
    """A break would mean that drift is announced at another prompt, or not at all, or that p values, thresholds or
    what is told about it differ; a monitor that goes on with an older state would contradict itself."""
    stored.check("monitor", case, CASES[case]())


def test_every_test_of_the_monitor_went_off_and_one_calmed_down() -> None:
    """A break would mean that one of the monitor's tests raises no alarm in any frozen history, or raises one while
    nothing has changed."""
    events = [event for found in stored.read("monitor").values() for event in found["events"]]
    assert {event["test"] for event in events if event["kind"] == "drift"} == {
        "histogram", "vectors", "novelty", "languages", "loss",
    }  # fmt: skip
    assert any(event["kind"] == "recovered" for event in events)
    looks = [dict(zip(LOOK, look, strict=True)) for found in stored.read("monitor").values() for look in found["looks"]]
    steady = [look for look in looks if look["prompts"] <= STEADY[look["stream"]]]
    assert len(steady) > 100
    assert not any(look["alarm"] for look in steady)
