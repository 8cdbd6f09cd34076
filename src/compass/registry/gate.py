"""The gate: may this version replace the one in production?

Promote only when every test passes: the new usage improves by more than `min_improvement`, and the old usage, each
earlier period and English lose less than the tolerance (non-inferiority). Each test is one-sided at `gate_level`.
Testing several at once needs no correction: a wrong promotion needs every hypothesis rejected, the false one among
them too, and that happens at most at its level (intersection-union test: Berger, Technometrics 24, 1982). The price is
power, so a test that can't tell answers "not enough evidence", which promotes nothing, and says what would be enough.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy.typing as npt

from compass.config import GATE_ROLES, GateConfig, GateRole
from compass.stats import PairedTest, paired_test, rows_needed, unchanged_rows_needed

PROMOTE, REFUSE, UNDECIDED = "promote", "refuse", "not enough evidence"
PASSED, FAILED = "passed", "failed"

POWER = 0.8
"""Power at which the rows still needed are reckoned."""
DRAWS = 4000
"""Bootstrap draws behind a test of scores other than right or wrong."""
MOST_ROWS = 1_000_000
"""Rows beyond which more data is no advice."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One held-out set, scored row by row with the version in production and with the candidate."""

    name: str
    role: str
    """Name of its role in `config.gate_roles`: `new-usage`, `old-usage`, `period` or `english`."""
    before: npt.ArrayLike
    """(n,) scores with the version in production; higher is better, so hand in a loss with its sign turned."""
    after: npt.ArrayLike
    """(n,) scores of the same rows with the candidate."""
    units: Sequence[Hashable] | None = None
    """(n,) labels of rows that belong together, as one item in several languages; None: each row is its own."""


@dataclass(frozen=True)
class TestRow:
    """One test of the gate."""

    __test__ = False  # not a test of pytest's

    name: str
    role: str
    n: int
    """Rows, or units."""
    before: float
    after: float
    difference: float
    low: float
    """One-sided lower limit of the difference at the level: the test passes where it lies above −margin."""
    high: float
    """One-sided upper limit."""
    p: float
    """p of the hypothesis that the new usage gains no more than asked, or that the set loses the margin or more."""
    margin: float
    """Largest loss that is tolerated; for new usage minus the gain that is asked for."""
    verdict: str
    """`passed`, `failed` (the opposite is shown) or `not enough evidence`."""
    more_data: str
    """In words, what would tell; empty where it is told."""
    rows_needed: int | None
    """Rows, or units, that would tell with the power asked for; None where that isn't known."""
    method: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict; null for what is no number."""
        return {key: _json(value) for key, value in dataclasses.asdict(self).items()}


@dataclass(frozen=True)
class GateDecision:
    """What the gate says, and every test behind it."""

    verdict: str
    """`promote`, `refuse` or `not enough evidence`."""
    reason: str
    """One sentence for people."""
    tests: tuple[TestRow, ...]
    level: float
    candidate: str
    """Id of the version that was tested; empty where none was named."""
    baseline: str
    """Id of the version in production that it was compared with, or `none`."""
    decided_at: str
    """ISO 8601, UTC."""

    @property
    def promotes(self) -> bool:
        """The candidate may go into production."""
        return self.verdict == PROMOTE

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {**dataclasses.asdict(self), "tests": [test.to_dict() for test in self.tests]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> GateDecision:
        """Read back what `to_dict` returned."""
        numbers = ("before", "after", "difference", "low", "high", "p")
        tests = (
            TestRow(**test | {name: float("nan") for name in numbers if test[name] is None})
            for test in content["tests"]
        )
        return cls(**{**content, "tests": tuple(tests)})


def decide(
    sets: Sequence[HeldOut],
    config: GateConfig,
    *,
    seed: int,
    candidate: str = "",
    baseline: str = "",
    roles: Sequence[GateRole] = GATE_ROLES,
) -> GateDecision:
    """Test every held-out set and decide.

    seed: of the bootstrap, where one is needed. candidate, baseline: ids of the versions that the scores are of; with
    them, `Registry.promote` sees that the decision is about these two. Raises ValueError for a name that occurs twice,
    an unknown role, or scores that don't fit.
    """
    named = {role.name: role for role in roles}
    _check(sets, config, named)
    tests = [_test(held_out, named[held_out.role], config, seed + i) for i, held_out in enumerate(sets)]
    present = {held_out.role for held_out in sets}
    tests += [_absent(named[name], config) for name in config.gate_requires if name not in present]
    failed = [test.name for test in tests if test.verdict == FAILED]
    open_ = [test.name for test in tests if test.verdict == UNDECIDED]
    if failed:
        verdict, reason = REFUSE, f"The candidate does worse than allowed on {', '.join(failed)}."
    elif open_ or not tests:
        verdict, reason = UNDECIDED, f"There is not enough evidence on {', '.join(open_) or 'anything'}."
    else:
        verdict, reason = (
            PROMOTE,
            f"New usage improves, and no test set loses too much: {len(tests)} tests passed.",
        )
    return GateDecision(
        verdict=verdict,
        reason=reason,
        tests=tuple(tests),
        level=config.gate_level,
        candidate=candidate,
        baseline=baseline,
        decided_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


def _check(sets: Sequence[HeldOut], config: GateConfig, roles: Collection[str]) -> None:
    names = [held_out.name for held_out in sets]
    if len(set(names)) != len(names):
        raise ValueError(f"each held-out set needs a name of its own; got {names}")
    unknown = sorted({*(held_out.role for held_out in sets), *config.gate_requires} - set(roles))
    if unknown:
        raise ValueError(f"role must be one of {', '.join(roles)}; got {', '.join(unknown)}")


def _test(held_out: HeldOut, role: GateRole, config: GateConfig, seed: int) -> TestRow:
    margin = config.margin_of(role)
    try:
        result = paired_test(
            held_out.before,
            held_out.after,
            -margin,
            level=config.gate_level,
            draws=DRAWS,
            seed=seed,
            units=held_out.units,
        )
    except ValueError as error:
        raise ValueError(f"held-out set {held_out.name!r}: {error}") from error
    if result.p_above <= config.gate_level and result.n >= config.gate_min_rows:
        verdict = PASSED
    elif result.p_below <= config.gate_level:
        verdict = FAILED
    else:
        verdict = UNDECIDED
    needed, words = _more_data(role, result, verdict, margin, config)
    return TestRow(
        name=held_out.name,
        role=held_out.role,
        n=result.n,
        before=result.before,
        after=result.after,
        difference=result.difference,
        low=result.low,
        high=result.high,
        p=result.p_above,
        margin=margin,
        verdict=verdict,
        more_data=words,
        rows_needed=needed,
        method=result.method,
    )


def _absent(role: GateRole, config: GateConfig) -> TestRow:
    nan = float("nan")
    return TestRow(
        name=role.name,
        role=role.name,
        n=0,
        before=nan,
        after=nan,
        difference=nan,
        low=nan,
        high=nan,
        p=1.0,
        margin=config.margin_of(role),
        verdict=UNDECIDED,
        more_data=f"No test set has the role {role.name}. Hold out rows for it, or take it out of gate_requires.",
        rows_needed=None,
        method="",
    )


def _more_data(
    role: GateRole, result: PairedTest, verdict: str, margin: float, config: GateConfig
) -> tuple[int | None, str]:
    """Return the rows that would tell, and the same in words."""
    if verdict != UNDECIDED:
        return None, ""
    if result.p_above <= config.gate_level:
        return config.gate_min_rows, f"It takes at least {config.gate_min_rows} rows (gate_min_rows)."
    change = f"{result.difference:+.3f}"
    distance = result.difference + margin
    if distance > 0:
        needed = _needed(result, distance, config)
        if needed is None:
            return None, f"All rows differ by {change}. Only rows with other differences show the spread."
        if needed > MOST_ROWS:
            return None, f"The difference ({change}) is so close to its margin that a million rows would not be enough."
        rows = f"About {needed:,} rows ({max(needed - result.n, 1):,} more) would show it"
        if result.deviation == 0.0:
            return needed, f"{rows} if all of them differ by {change}, as so far."
        return needed, f"{rows} {POWER:.0%} of the time, if the difference stays at {change}."
    if role.must_gain:
        return None, f"The measured gain ({change}) is not above {abs(margin):g}. More rows alone will not show one."
    needed = _needed(result, margin, config)
    if needed is None or needed > MOST_ROWS:
        return None, f"The measured loss ({change}) is beyond its tolerance. More rows alone will not change that."
    return needed, (
        f"The measured loss ({change}) is beyond the tolerance of {margin:g}. If in fact nothing is lost, about "
        f"{needed:,} rows would show it {POWER:.0%} of the time."
    )


def _needed(result: PairedTest, distance: float, config: GateConfig) -> int | None:
    """Return the rows that show a true difference this far above its bound; None if that can't be told."""
    if distance <= 0 or (result.deviation == 0.0 and not math.isfinite(result.low)):
        return None
    if result.deviation == 0.0:
        return int(unchanged_rows_needed(distance, config.gate_level))
    normal = rows_needed(result.deviation, distance, level=config.gate_level, power=POWER)
    # Few changes make the spread look smaller than it may be: never less than what rows without any change would take.
    return int(max(normal, unchanged_rows_needed(distance, config.gate_level), config.gate_min_rows))


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
