"""The log of experiments: newest first, a verdict in each title, no entry lost."""

from __future__ import annotations

import re
from pathlib import Path

LOG = (Path(__file__).parents[2] / "LOG.md").read_text("utf-8")
TITLES = re.findall("^## (.*)$", LOG, re.M)


def test_newest_first() -> None:
    dates = [title[:10] for title in TITLES]
    assert dates == sorted(dates, reverse=True)


def test_each_title_carries_a_verdict() -> None:
    """`DATE: what was tried: what came of it`."""
    assert [title for title in TITLES if not re.match(r"\d{4}-\d\d-\d\d: [^:]+: .+", title)] == []
    assert len(TITLES) >= 51


def test_the_first_claims_are_marked() -> None:
    """The +11.0 of 2026-11-25 does not hold, and must not be quoted from the log."""
    claim = re.split("^## ", LOG, flags=re.M)
    [entry] = [part for part in claim if part.startswith("2026-11-25: the claim")]
    assert "**Superseded.**" in entry
