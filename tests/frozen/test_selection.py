"""What every strategy picks, in which order, with which scores and which account, as in version 0.1."""

from __future__ import annotations

import pytest

from frozen import stored
from frozen.cases import CHANGED, FILES, QUOTAS_GO, select

CASES, WITHOUT_CLASSES, SINCE = (
    FILES[name] for name in ("selection", "selection_without_classes", "selection_changed")
)


@pytest.mark.parametrize("case", [case for case in CASES if case not in CHANGED])
def test_picks_are_those_of_version_0_1(case: str) -> None:
    """A break would mean that the same data, budget and seed train another adapter than before, or that the report
    tells another demand, supply or shortfall of the same picks."""
    stored.check("selection", case, CASES[case]())


@pytest.mark.parametrize("case", [case for case in WITHOUT_CLASSES if case not in CHANGED])
def test_picks_of_the_default_strategy_without_classes_are_those_of_version_0_1(case: str) -> None:
    """A break would mean that the default strategy picks other rows where its budget can't be split over classes of
    answers. This part alone may change on purpose, in a commit that says so."""
    stored.check("selection_without_classes", case, WITHOUT_CLASSES[case]())


@pytest.mark.parametrize("case", SINCE)
def test_what_changed_on_purpose_is_kept_as_well(case: str) -> None:
    """A break would mean that the default strategy picks other rows than it has since its rule became one box."""
    stored.check("selection_changed", case, SINCE[case]())


def test_nothing_else_changed() -> None:
    """A break would mean that another strategy's picks were declared changed, or that a change is none."""
    assert {case.partition(",")[0] for case in CHANGED} == {"compass"}
    for case in CHANGED:
        before = stored.read("selection" if case in CASES else "selection_without_classes")[case]
        assert stored.differences(stored.read("selection_changed")[case], before)


@pytest.mark.parametrize(("budget", "n"), [(12, 3), (20, 3), (30, 1)])
def test_reserved_rows_change_as_many_picks_and_do_not_lead(
    monkeypatch: pytest.MonkeyPatch, budget: int, n: int
) -> None:
    """A break would mean that reserving rows moves more than the rows themselves."""

    def picks() -> list[int]:
        return [int(row) for row in select("compass", "classes", budget, "examples", 12)["indices"]]

    now = picks()
    monkeypatch.setattr("compass.selection.strategies.compass.rows_for_gaps", lambda *_: [])
    assert set(now[-n:]) == set(now) - set(picks())


def test_the_situations_are_what_they_are_called() -> None:
    """A break would mean that quotas over classes, their refusal, caps or shortfalls are in no frozen case."""
    classes = stored.read("selection")
    split = {case for case, found in classes.items() if found["answers"]}
    assert split == {case for case in classes if case.startswith(f"{QUOTAS_GO[0]}, ")}
    assert not any(found["answers"] for found in stored.read("selection_without_classes").values())
    told = {note for name in ("selection", "selection_without_classes") for found in stored.read(name).values()
            for note in found["notes"]}  # fmt: skip
    for word in ("free text", "no data at hand", "language had its share", "near duplicate", "longer than the budget",
                 "above the language cap"):  # fmt: skip
        assert any(word in note for note in told), word
    assert any(found["shortfall"] for found in classes.values())
