"""Numbers and verdicts in words."""

from __future__ import annotations

import pytest

from compass.records import Difference, Interval
from compass.report import wording


@pytest.mark.parametrize(
    ("metric", "low", "high", "tone"),
    [
        ("exact_match", 0.1, 0.3, "good"),
        ("exact_match", -0.3, -0.1, "bad"),
        ("exact_match", -0.1, 0.1, "quiet"),
        ("exact_match", 0.0, 0.1, "quiet"),
        ("loss_per_byte", -0.3, -0.1, "good"),
        ("loss_per_byte", 0.1, 0.3, "bad"),
        ("seen_label_share", 0.1, 0.3, "quiet"),
    ],
)
def test_a_verdict_says_no_more_than_its_interval(metric: str, low: float, high: float, tone: str) -> None:
    """Would break if a lower loss were called worse, or an interval with zero in it a change."""
    text, found = wording.verdict(Difference("t", metric, 0, 0, Interval((low + high) / 2, low, high)))
    assert found == tone
    assert ("excludes zero" in text) is (low > 0 or high < 0)


def test_a_small_p_value_is_no_zero() -> None:
    """Would break if a page or a table showed a test as impossible by chance, or none as a number."""
    shown = [wording.p_value(value) for value in (1e-13, 0.001, 0.0312, 1.0, float("nan"), None)]
    assert shown == ["< .001", ".001", ".031", "1.000", "–", "–"]


def test_a_level_is_never_rounded() -> None:
    """Intervals of 99.9 % would be called certain, and a gate's level of 2.5 % one of 2 %."""
    assert [wording.level(share) for share in (0.95, 0.975, 0.999, 0.025)] == [
        f"{said}\u00a0%" for said in ("95", "97.5", "99.9", "2.5")
    ]


def test_numbers() -> None:
    """Would break if a unit, a sign or a rounding changed: −0.0 and +0.0 must never be seen."""
    assert wording.with_interval("exact_match", Interval(0.341, 0.28, 0.4)) == "34.1\u00a0% [28.0, 40.0]"
    assert wording.with_interval("loss_per_byte", Interval(0.8, 0.7, 0.9)) == "0.800 [0.700, 0.900]"
    assert wording.with_interval("exact_match", None) == "–"
    assert [wording.signed(x, 1) for x in (1.25, -0.2, 0.01, -0.01)] == ["+1.2", "−0.2", "0.0", "0.0"]
    assert [wording.seconds(x) for x in (0.84, 42.4, 192.4, 7500)] == ["0.8 s", "42 s", "3 min 12 s", "2 h 05 min"]
    assert [wording.memory(x) for x in (0, 3.4e8, 3.4e9)] == ["–", "340 MB", "3.4 GB"]
    assert wording.plural(1, "row") == "1 row"
    assert wording.plural(6270, "row") == "6,270 rows"


def test_languages() -> None:
    """Would break if a tag without a name, or none at all, stopped the report."""
    assert wording.language("cy") == "Welsh (cy)"
    assert wording.bare_language("cy") == "Welsh"
    assert wording.language("und") == "language unknown"
    assert wording.language("not a tag") == "not a tag"
