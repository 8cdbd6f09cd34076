"""Numbers, languages and verdicts in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from compass.records import Difference, Interval

MINUS = "−"


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is named and read: a share in [0, 1] or nats per byte; which direction is better, if any."""

    title: str
    as_percent: bool
    better: int
    """1: higher is better, −1: lower is better, 0: neither."""
    meaning: str


METRICS = {
    "exact_match": Metric("Exact match", True, 1, "the whole answer is right"),
    "intent_accuracy": Metric("Intent accuracy", True, 1, "the answer calls the expected function"),
    "slot_f1": Metric("Slot F1", True, 1, "F1 score of the call's arguments"),
    "loss_per_byte": Metric("Loss per byte", False, -1, "nats per UTF-8 byte of the expected answer; lower is better"),
    "chrf": Metric(
        "chrF", True, 1, "mean over rows of the F2 score over character n-grams up to 6 (sacrebleu); free text alone"
    ),
    "token_f1": Metric(
        "Token F1",
        True,
        1,
        "mean over rows of the F1 score of words (characters in scripts without spaces), as in SQuAD; free text alone",
    ),
    "rouge_l": Metric(
        "ROUGE-L", True, 1, "mean over rows of the F1 score of the longest common subsequence of words; free text alone"
    ),
    "seen_label_share": Metric(
        "Training-only labels", True, 0, "answers with a label of the training data that no test row asks for"
    ),
}
"""The metrics in the order in which they are shown; others follow by name."""


def metric(name: str) -> Metric:
    """Return how `name` is read; an unknown metric is a plain number of which more is better."""
    return METRICS.get(name) or Metric(name.replace("_", " "), False, 1, "")


def metric_order(names: set[str]) -> list[str]:
    """Return metric names in the order of `METRICS`, unknown ones last."""
    return [name for name in METRICS if name in names] + sorted(names - METRICS.keys())


@lru_cache(maxsize=1024)
def language(tag: str) -> str:
    """Return `Welsh (cy)`, or the bare tag where no name is known."""
    from compass.data.languages import language_name
    from compass.errors import LanguageError

    if tag in ("", "und"):
        return "language unknown"
    try:
        name = language_name(tag)
    except LanguageError:
        return tag
    return f"{name} ({tag})"


def bare_language(tag: str) -> str:
    """Return `Welsh`: the name alone, for running text."""
    return language(tag).removesuffix(f" ({tag})")


def number(value: float, digits: int = 0) -> str:
    """Return 6,270 or 0.125, with a true minus sign; a dash for what is no number."""
    if not math.isfinite(value):
        return "–"
    # Adding zero turns a rounded −0.0 into 0.0.
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", MINUS)


def p_value(value: float | None) -> str:
    """Return a p-value, `< .001` where three digits would be zeros, and a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def plural(count: float, one: str, many: str = "") -> str:
    """Return `1 row`, `240 rows`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def set_name(name: str) -> str:
    """Return what a data set of a run is called; files write `current` for the training data."""
    return "training data" if name == "current" else name


def capital(text: str) -> str:
    """Return the text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def in_sentence(title: str) -> str:
    """Return a title as it stands inside a sentence: `slot F1`, but `ROUGE-L`."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def of_all(shown: int, total: int, what: str) -> str:
    """Return a sentence that says how much of all a figure shows; nothing where it shows all."""
    return f" The figure shows {shown} of {total} {what}; the table has all." if shown < total else ""


def plain(value: Any) -> str:
    """Return a value of a lock or a configuration as one line."""
    if value is None or value == "":
        return "–"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or "–"
    return str(value)


def percent(share: float, digits: int = 1) -> str:
    """Return a share in [0, 1] as `12.5 %`, with a no-break space."""
    return f"{number(100 * share, digits)}\u00a0%"


def level(share: float) -> str:
    """Return a level of confidence or of a test in full, `95 %` or `97.5 %`, with a no-break space."""
    return f"{100 * share:g}\u00a0%"


def measured(name: str, value: float) -> str:
    """Return a metric's value in its unit."""
    return percent(value) if metric(name).as_percent else number(value, 3)


def with_interval(name: str, value: Interval | None) -> str:
    """Return `41.0 % [34.0, 48.0]`; a dash where nothing was measured."""
    if value is None:
        return "–"
    if metric(name).as_percent:
        return f"{percent(value.value)} [{number(100 * value.low, 1)}, {number(100 * value.high, 1)}]"
    return f"{number(value.value, 3)} [{number(value.low, 3)}, {number(value.high, 3)}]"


def change(name: str, difference: Difference) -> str:
    """Return `+29.0 points [+22.0, +36.0]`."""
    scale, digits = (100.0, 1) if metric(name).as_percent else (1.0, 3)
    unit = " points" if metric(name).as_percent else ""
    interval = difference.interval
    value, low, high = (signed(scale * x, digits) for x in (interval.value, interval.low, interval.high))
    return f"{value}{unit} [{low}, {high}]"


def signed(value: float, digits: int) -> str:
    """Return `+1.5`, `−0.2` or `0.0`."""
    text = number(value, digits)
    return text if text.startswith(MINUS) or round(value, digits) == 0 else f"+{text}"


def verdict(difference: Difference) -> tuple[str, str]:
    """Return what the interval allows to say, and its tone: good, bad or quiet."""
    if not difference.interval.excludes_zero:
        return "no clear change: the interval includes zero", "quiet"
    direction = metric(difference.metric).better * (1 if difference.interval.value > 0 else -1)
    if direction == 0:
        return "changed: the interval excludes zero", "quiet"
    if direction > 0:
        return "better: the interval excludes zero", "good"
    return "worse: the interval excludes zero", "bad"


def seconds(value: float) -> str:
    """Return `0.8 s`, `42 s`, `3 min 12 s` or `2 h 05 min`."""
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(value: float) -> str:
    """Return bytes as `1.2 GB` or `340 MB` (powers of ten); a dash for zero."""
    if value <= 0:
        return "–"
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"
