"""What the gate lets through, what it refuses, what it can't tell, and how often it errs."""

from __future__ import annotations

import dataclasses
import json
from bisect import bisect_left

import numpy as np
import pytest
from scipy.stats import binom

from compass.config import GATE_ROLES, GateConfig, GateRole
from compass.recipes.promote import roles_of
from compass.registry import GateDecision, HeldOut, decide

CONFIG = GateConfig()
NEW_USAGE, OLD_USAGE, PERIOD, ENGLISH = "new-usage", "old-usage", "period", "english"


def held_out(name: str, role: str, n: int, won: int, lost: int) -> HeldOut:
    """Return right-or-wrong scores with these numbers of rows won and lost; half of the others are right."""
    before = (np.arange(n) % 2).astype(float)
    after = before.copy()
    wrong, right = np.flatnonzero(before == 0), np.flatnonzero(before == 1)
    after[wrong[:won]] = 1.0
    after[right[:lost]] = 0.0
    return HeldOut(name, role, before, after)


NEW = held_out("new", NEW_USAGE, 100, 25, 3)
OLD = held_out("old", OLD_USAGE, 300, 3, 4)
SPRING = held_out("spring", PERIOD, 300, 4, 3)
ENG = held_out("english", ENGLISH, 300, 0, 0)


def test_all_is_well() -> None:
    decision = decide([NEW, OLD, SPRING, ENG], CONFIG, seed=0, candidate="b", baseline="a")
    assert decision.verdict == "promote"
    assert decision.promotes
    assert [test.verdict for test in decision.tests] == ["passed"] * 4
    assert [test.margin for test in decision.tests] == [0.0, 0.03, 0.03, 0.03]
    assert all(test.low > -test.margin and test.p <= 0.05 and test.more_data == "" for test in decision.tests)
    assert (decision.candidate, decision.baseline) == ("b", "a")


@pytest.mark.parametrize("role", [OLD_USAGE, PERIOD, ENGLISH])
def test_one_loss_is_enough_to_refuse(role: str) -> None:
    """A gain on the new usage would pay for what is forgotten elsewhere."""
    others = [held_out_set for held_out_set in (OLD, SPRING, ENG) if held_out_set.role != role]
    bad = held_out("bad", role, 300, 2, 40)
    decision = decide([NEW, *others, bad], CONFIG, seed=0)
    assert decision.verdict == "refuse"
    assert decision.reason == "The candidate does worse than allowed on bad."
    assert decision.tests[-1].high < -decision.tests[-1].margin


def test_no_gain_is_refused_and_a_small_one_is_no_evidence() -> None:
    worse = decide([held_out("new", NEW_USAGE, 100, 2, 20), OLD, ENG], CONFIG, seed=0)
    assert worse.verdict == "refuse"
    small = decide([held_out("new", NEW_USAGE, 100, 6, 3), OLD, ENG], CONFIG, seed=0)
    assert small.verdict == "not enough evidence"
    test = small.tests[0]
    assert test.rows_needed is not None
    assert f"About {test.rows_needed:,} rows ({test.rows_needed - 100:,} more)" in test.more_data


def test_the_advice_is_enough() -> None:
    """A person would gather the rows that were asked for, and still hear that there is not enough evidence."""
    before = held_out("new", NEW_USAGE, 200, 14, 7)
    advice = decide([before, OLD, ENG], CONFIG, seed=0).tests[0].rows_needed
    assert advice is not None
    factor = advice / 200
    more = held_out("new", NEW_USAGE, advice, round(14 * factor), round(7 * factor))
    assert decide([more, OLD, ENG], CONFIG, seed=0).promotes


def test_few_rows_are_no_proof_of_no_loss() -> None:
    """Thirty English rows without a change would count as proof that English is kept."""
    decision = decide([NEW, OLD, held_out("english", ENGLISH, 30, 0, 0)], CONFIG, seed=0)
    assert decision.verdict == "not enough evidence"
    assert decision.tests[-1].rows_needed == 99
    assert (
        "About 99 rows (69 more) would show it if all of them differ by +0.000, as so far."
        in decision.tests[-1].more_data
    )
    assert decide([NEW, OLD, held_out("english", ENGLISH, 99, 0, 0)], CONFIG, seed=0).promotes


def test_a_loss_near_the_tolerance_is_told_in_words() -> None:
    test = decide([NEW, held_out("old", OLD_USAGE, 100, 1, 5), ENG], CONFIG, seed=0).tests[1]
    assert test.verdict == "not enough evidence"
    assert "beyond the tolerance of 0.03. If in fact nothing is lost" in test.more_data


@pytest.mark.parametrize("missing", [NEW_USAGE, OLD_USAGE, ENGLISH])
def test_what_is_not_measured_is_not_passed(missing: str) -> None:
    """A test set that somebody forgot would let everything through."""
    sets = [held_out_set for held_out_set in (NEW, OLD, ENG) if held_out_set.role != missing]
    decision = decide(sets, CONFIG, seed=0)
    assert decision.verdict == "not enough evidence"
    assert (decision.tests[-1].role, decision.tests[-1].n) == (missing, 0)
    assert "No test set has the role" in decision.tests[-1].more_data
    assert not decide([], dataclasses.replace(CONFIG, gate_requires=()), seed=0).promotes


def test_a_minimum_of_rows() -> None:
    """Five rows, all won, are significant and still five rows."""
    tiny = decide([held_out("new", NEW_USAGE, 12, 6, 0), OLD, ENG], CONFIG, seed=0)
    assert tiny.tests[0].p <= 0.05
    assert tiny.verdict == "not enough evidence"
    assert "at least 20 rows" in tiny.tests[0].more_data


def test_graded_scores_and_units() -> None:
    """Slot F1 or losses, and items asked in several languages, would have no test."""
    rng = np.random.default_rng(0)
    before = rng.uniform(0.0, 1.0, 200)
    gain = HeldOut("new", NEW_USAGE, before, np.clip(before + 0.1, 0.0, 1.0), units=[i // 4 for i in range(200)])
    loss = -rng.gamma(2.0, 1.0, 200)
    kept = HeldOut("old", OLD_USAGE, loss, loss + rng.normal(0.0, 0.05, 200))
    decision = decide([gain, kept, ENG], CONFIG, seed=0)
    assert decision.promotes
    assert [(test.n, test.method) for test in decision.tests[:2]] == [
        (50, "studentised bootstrap over units"),
        (200, "studentised bootstrap"),
    ]
    assert decide([gain, kept, ENG], CONFIG, seed=0).tests == decision.tests


def test_decisions_survive_json() -> None:
    """Not a number and infinity are no JSON; a decision read back would differ from the one that was made."""
    flat = np.full(30, 7.0)
    decision = decide([NEW, HeldOut("old", OLD_USAGE, flat, flat)], CONFIG, seed=0)
    text = json.dumps(decision.to_dict(), allow_nan=False)
    assert GateDecision.from_dict(json.loads(text)).to_dict() == decision.to_dict()
    passed = decide([NEW, OLD, ENG], CONFIG, seed=0)
    assert GateDecision.from_dict(json.loads(json.dumps(passed.to_dict()))) == passed


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="a name of its own"):
        decide([NEW, NEW], CONFIG, seed=0)
    with pytest.raises(ValueError, match=r"role must be one of .* got future"):
        decide([dataclasses.replace(NEW, role="future")], CONFIG, seed=0)
    with pytest.raises(ValueError, match="held-out set 'new': before and after"):
        decide([dataclasses.replace(NEW, after=np.zeros(3))], CONFIG, seed=0)


def changed(rng: np.random.Generator, n: int, p_won: float, p_lost: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw right-or-wrong scores whose rows are won and lost with these chances."""
    u = rng.random(n)
    before, after = np.zeros(n), np.zeros(n)
    after[u < p_won] = 1.0
    before[u > 1 - p_lost] = 1.0
    return before, after


AT_MARGIN = dataclasses.replace(CONFIG, tolerance={OLD_USAGE: 0.05, ENGLISH: 0.05})


def promoted_share(role: str, n: int, p_won: float, p_lost: float) -> float:
    """Return how often the gate promotes where rows of one set are won and lost with these chances: exactly.

    The other sets are beyond doubt, which is where the gate promotes most. Every outcome is weighed by the multinomial;
    a set that fails with some rows lost fails with more, so the gate is asked for the most that pass.
    """
    others = [well for well in (NEW, OLD, ENG) if well.role != role]

    def promotes(won: int, lost: int) -> bool:
        return decide([*others, held_out(role, role, n, won, lost)], AT_MARGIN, seed=0).promotes

    share = 0.0
    for won in range(n // 2 + 1):
        if binom.pmf(won, n, p_won) < 1e-7:
            continue
        most = bisect_left(range(n // 2 + 1), True, key=lambda lost, won=won: not promotes(won, lost))
        # lost < most, given the rows that are not won
        share += binom.pmf(won, n, p_won) * binom.cdf(most - 1, n - won, p_lost / (1 - p_won))
    return float(share)


@pytest.mark.parametrize(
    ("role", "n", "p_won", "p_lost"),
    [(OLD_USAGE, 80, 0.01, 0.06), (ENGLISH, 120, 0.0, 0.05), (NEW_USAGE, 40, 0.1, 0.1)],
    ids=["old usage", "english", "new usage"],
)
def test_wrong_promotions_at_the_margin(role: str, n: int, p_won: float, p_lost: float) -> None:
    """Promised: with one set at its margin and all others well, wrong at most once in twenty."""
    assert 0.01 <= promoted_share(role, n, p_won, p_lost) <= 0.05


def test_good_updates_pass() -> None:
    """A gate that never promotes is never wrong: here is one that should pass, and mostly does.

    60 simulated decisions; 0.99 measured on 100.
    """
    rng = np.random.default_rng(5)
    well = {NEW_USAGE: (80, 0.3, 0.02), OLD_USAGE: (120, 0.02, 0.005), ENGLISH: (120, 0.01, 0.0)}
    promoted = [
        decide([HeldOut(role, role, *changed(rng, *chances)) for role, chances in well.items()], AT_MARGIN, seed=0)
        for _ in range(60)
    ]
    assert np.mean([decision.promotes for decision in promoted]) >= 0.8


GERMAN = GateRole("german", lambda test: test.is_in("de"), required=True)


def test_a_new_role_is_one_entry() -> None:
    """Another place would have to know the new role: the gate's margin, its demands, or the choices of an option."""
    roles = (*GATE_ROLES, GERMAN)
    names = ["cy", "cy-0", "english", "de-AT", "ne"]
    assert roles_of(names, "cy", roles)["de-AT"] == "german"
    config = GateConfig(gate_requires=tuple(role.name for role in roles if role.required))
    bad = held_out("de-AT", "german", 300, 2, 40)
    assert decide([NEW, OLD, ENG, bad], config, seed=0, roles=roles).verdict == "refuse"
    missing = decide([NEW, OLD, ENG], config, seed=0, roles=roles)
    assert missing.verdict == "not enough evidence"
    assert missing.tests[-1].name == "german"
    assert missing.tests[-1].margin == 0.03


def test_options_know_the_roles_of_the_table() -> None:
    """A role could be required or tolerate a loss at the gate, and its option would refuse the name."""
    knobs = {field.name: field for field in dataclasses.fields(GateConfig)}
    names = [role.name for role in GATE_ROLES]
    assert list(knobs["gate_requires"].metadata["choices"]) == names
    losing = [role.name for role in GATE_ROLES if not role.must_gain]
    assert list(knobs["tolerance"].metadata["choices"]) == ["default", *losing]
    assert CONFIG.gate_requires == ("new-usage", "old-usage", "english")
