"""A difference between two strategies in words and numbers, over test rows and over trainings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from compass.records import Comparison, Interval
from compass.report.wording import in_sentence, language, metric, number, p_value, percent, signed

METRICS = {
    "exact": metric("exact_match"),
    "intent": metric("intent_accuracy"),
    "loss": replace(metric("loss_per_byte"), title="Loss per byte (mean of rows)"),
    "chrf": metric("chrf"),
    "token_f1": metric("token_f1"),
    "rouge_l": metric("rouge_l"),
}
ITEM, PAIR = "test item", "pair of trainings"
LOSS_DIGITS = 4
LEVEL = 0.05
"""p-values below it are called a difference."""


def metric_title(c: Comparison) -> str:
    """Return the name of the metric of a comparison."""
    return METRICS[c.metric].title


def metric_in_sentence(c: Comparison) -> str:
    """Return it as it stands inside a sentence."""
    return in_sentence(metric_title(c).partition(" (")[0])


def written(name: str, value: float) -> str:
    return percent(value) if METRICS[name].as_percent else number(value, LOSS_DIGITS)


def value(c: Comparison, value: float) -> str:
    return written(c.metric, value)


def in_unit(c: Comparison, difference: float, write: Callable[[float, int], str]) -> str:
    """Write a difference of shares in points, one of losses as it is."""
    return write(100 * difference, 1) if METRICS[c.metric].as_percent else write(difference, LOSS_DIGITS)


def over_rows(c: Comparison) -> str:
    return f"no difference in any {ITEM}" if _is_none(c.interval) else _with_ends(c, c.interval)


def over_trainings(c: Comparison) -> str:
    return f"no difference in any {PAIR}" if _is_none(c.between_runs) else _with_ends(c, c.between_runs)


def row_head(c: Comparison) -> tuple[str, ...]:
    """Return a row's first cells: the language, budget, metric and strategy that a comparison is of."""
    scope = language(c.language) if c.language else "all"
    return scope, str(c.budget or "all"), metric_title(c), f"{c.strategy} − {c.against}"


def _is_none(interval: Interval) -> bool:
    """Say whether nothing differs: draws of differences that are not all zero do not all have the mean zero."""
    return interval.value == interval.low == interval.high == 0


def _with_ends(c: Comparison, interval: Interval) -> str:
    value, low, high = (in_unit(c, end, signed) for end in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def has_trainings(c: Comparison) -> bool:
    """Say whether several trainings were compared, which a claim about a strategy needs."""
    return not math.isnan(c.runs_p_holm)


def main_interval(c: Comparison) -> Interval:
    return c.between_runs if has_trainings(c) else c.interval


def verdict(c: Comparison) -> str:
    if _is_none(c.interval):
        return over_rows(c)
    of_rows = f"{over_rows(c)} over test rows (p {_p_is(c.p_holm)})"
    if not has_trainings(c):
        return f"{of_rows}, {word(c)} for this one pair of trainings" if c.runs == 1 else f"{of_rows}, {word(c)}"
    if _is_none(c.between_runs):
        return f"{over_trainings(c)}; {of_rows}"
    return f"{over_trainings(c)} over {c.runs} pairs of trainings (p {_p_is(c.runs_p_holm)}), {word(c)}; {of_rows}"


def word(c: Comparison) -> str:
    return {"good": "better", "bad": "worse", "quiet": "no clear difference"}[tone(c)]


def _p_is(value: float) -> str:
    p = p_value(value)
    return p if p.startswith("<") else f"= {p}"


def tone(c: Comparison) -> str:
    """Say how a difference reads: over trainings where there are several, else over test rows."""
    if has_trainings(c):
        return tone_of(c, c.runs_p_holm, c.between_runs)
    return tone_of(c, c.p_holm, c.interval)


def tone_of(c: Comparison, p: float, interval: Interval) -> str:
    if not p < LEVEL:
        return "quiet"
    return "good" if interval.value * METRICS[c.metric].better > 0 else "bad"
