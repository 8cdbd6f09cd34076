"""A drift in words for people who do not know the tests: what changed, since when, how sure that is."""

from __future__ import annotations

from datetime import UTC, datetime

from compass.drift.explain import ClusterShift, Explanation

TOPICS_NAMED = 2
"""Topics that are named on each side, those that moved the most."""
LEAST_CHANGE = 0.01
"""Change of a share below which a topic is not worth a word."""


def story(found: Explanation, p_value: float) -> list[str]:
    """Return sentences on what changed, since when, and how sure that is; no prompt is in them."""
    grew = [shift for shift in found.grew if shift.change >= LEAST_CHANGE][:TOPICS_NAMED]
    shrank = [shift for shift in found.shrank if shift.change <= -LEAST_CHANGE][:TOPICS_NAMED]
    said = []
    if grew:
        said.append(f"more of {_listed(grew)}")
    if shrank:
        said.append(f"less of {_listed(shrank)}")
    if found.began_prompts:
        said.append(f"since about {found.began_prompts} prompts ago{_on(found.began_at)}")
    said.append(f"by chance alone in at most 1 of {max(1, round(1.0 / max(p_value, 1e-9))):,} checks")
    return said


def _listed(shifts: list[ClusterShift]) -> str:
    return " and ".join(
        f"{shift.name} ({100 * shift.window_share:.0f} %, was {100 * shift.reference_share:.0f} %)" for shift in shifts
    )


def _on(at: float | None) -> str:
    return "" if at is None else f" ({datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC)"
