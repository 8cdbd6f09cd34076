"""Results that several rooms read: what was picked, measured and compared, from the code that finds it to the report.

All are frozen. `to_dict` gives the JSON keys or columns that a run folder has for it, `from_dict` reads them back. A
number that could not be computed is nan here and null in files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

LEARNED = 1.0
"""Nats of a response in the last epoch, below which training rows count as learned [ours].

After two epochs topics are at .35, and two more made them worse; function calls are at 1.6 to 4.0, and two more brought
twelve points. Free text is at 16, and two more brought closer answers and a worse loss (LOG.md, 2026-11-30).
"""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its confidence interval; nan where they could not be computed."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; one that ends at zero includes it."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, float]:
        """Return the keys `value`, `low` and `high`."""
        return {"value": self.value, "low": self.low, "high": self.high}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Interval:
        """Read back what `to_dict` returned."""
        return cls(float(content["value"]), float(content["low"]), float(content["high"]))


Metrics = Mapping[str, Interval]
"""Values by the metric's name."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two models on the same rows: adapter − base, with its paired interval."""

    name: str
    """The test set."""
    metric: str
    base: float
    adapter: float
    interval: Interval
    """Of adapter − base."""
    cluster: int | None = None
    """The cluster whose rows are compared; None: all rows."""

    def to_dict(self) -> dict[str, Any]:
        """Return a row of `eval/differences.json`; `cluster` only where there is one."""
        row: dict[str, Any] = {
            "name": self.name,
            "metric": self.metric,
            "base": self.base,
            "adapter": self.adapter,
            "difference": self.interval.value,
            "low": self.interval.low,
            "high": self.interval.high,
        }
        if self.cluster is not None:
            row["cluster"] = self.cluster
        return row

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Difference:
        """Read back what `to_dict` returned."""
        cluster = content.get("cluster")
        return cls(
            name=str(content["name"]),
            metric=str(content["metric"]),
            base=float(content["base"]),
            adapter=float(content["adapter"]),
            interval=Interval(float(content["difference"]), float(content["low"]), float(content["high"])),
            cluster=None if cluster is None else int(cluster),
        )


@dataclass(frozen=True, slots=True)
class ClusterScore:
    """Exact match on the test rows of one cluster, with Wilson's interval."""

    cluster: int
    rows: int
    exact_match: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return an entry of `by_cluster` in an evaluation's summary."""
        return {
            "cluster": self.cluster,
            "rows": self.rows,
            "exact_match": self.exact_match.value,
            "low": self.exact_match.low,
            "high": self.exact_match.high,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ClusterScore:
        """Read back what `to_dict` returned."""
        exact_match = Interval(float(content["exact_match"]), float(content["low"]), float(content["high"]))
        return cls(int(content["cluster"]), int(content["rows"]), exact_match)


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class of responses: what usage is expected to ask of it, what the training data has, what was picked."""

    name: str
    usage_share: float
    """Estimated share of usage, in [0, 1]."""
    current_share: float
    """Share of the training data, in [0, 1]."""
    current_count: int
    gap: float
    """Share of usage beyond that of the training data, in [0, 1]."""
    supply: int
    """What the pool has of it; this, quota and picked are in units of the budget."""
    quota: int
    picked: int

    def to_dict(self) -> dict[str, Any]:
        """Return a row of `selection/answers.parquet`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ClassScore:
        """Read back what `to_dict` returned."""
        return cls(
            name=str(content["name"]),
            usage_share=float(content["usage_share"]),
            current_share=float(content["current_share"]),
            current_count=int(content["current_count"]),
            gap=float(content["gap"]),
            supply=int(content["supply"]),
            quota=int(content["quota"]),
            picked=int(content["picked"]),
        )


@dataclass(frozen=True, slots=True)
class Cluster:
    """The account of one semantic cluster: what usage needs, what the training data has, what was picked."""

    cluster: int
    name: str
    usage_count: int
    current_count: int
    usage_share: float
    """Share of usage, in [0, 1]."""
    current_share: float
    """Share of the training data, in [0, 1]."""
    gap: float
    """Share of usage beyond that of the training data, in [0, 1]."""
    demand: float
    """What it would get of the budget if the pool were endless; this and the next three are in units of the budget."""
    supply: int
    picked: int
    unmet: float
    """Demand that the picks leave open."""
    terms: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    """Prompts nearest to its centre."""

    def to_dict(self) -> dict[str, Any]:
        """Return a row of `selection/clusters.parquet`, which is without terms and examples."""
        return {name: value for name, value in asdict(self).items() if name not in ("terms", "examples")}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Cluster:
        """Read back what `to_dict` returned, with `terms` and `examples` where there are any."""
        return cls(
            cluster=int(content["cluster"]),
            name=str(content.get("name") or ""),
            usage_count=int(content["usage_count"]),
            current_count=int(content["current_count"]),
            usage_share=float(content["usage_share"]),
            current_share=float(content["current_share"]),
            gap=float(content["gap"]),
            demand=float(content["demand"]),
            supply=int(content["supply"]),
            picked=int(content["picked"]),
            unmet=float(content["unmet"]),
            terms=tuple(str(term) for term in content.get("terms", ())),
            examples=tuple(str(example) for example in content.get("examples", ())),
        )


@dataclass(frozen=True, slots=True)
class Picked:
    """One picked row of the pool, and why it was picked. Texts are empty where only the audit was kept."""

    id: str
    language: str
    source: str
    cluster: int
    """-1: outside every cluster."""
    score: float
    rank: int
    """1 was picked first."""
    reason: str
    prompt: str = ""
    response: str = ""
    label: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a row of `selection/audit.parquet`, which is without texts."""
        names = (own.name for own in fields(self) if own.name not in ("prompt", "response", "label"))
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Picked:
        """Read a row of `selection/audit.parquet`, or of `selection/selected.jsonl`, which has the texts."""
        cluster = content.get("cluster")
        return cls(
            id=str(content.get("id", "")),
            language=str(content.get("language") or "und"),
            source=str(content.get("source") or ""),
            cluster=-1 if cluster is None else int(cluster),
            score=float(content["score"]),
            rank=int(content["rank"]),
            reason=str(content.get("reason") or ""),
            prompt=str(content.get("prompt") or ""),
            response=str(content.get("response") or ""),
            label=str(content.get("label") or ""),
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that `monitor` or `watch` reports while it runs."""

    kind: str
    """`drift`, `recovered`, `blocked`, `update`, `promotion`, `refusal`, `would`, and `status` at the end."""
    summary: str
    """One line for people."""
    version: str = ""
    """Id of the registry's version that it is about; empty where there is none."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Figures as JSON values: of the test that raised a drift, of the gate's `decision`, of the monitor's status."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict: `event`, `summary`, `version` where there is one, and the details beside them."""
        version = {"version": self.version} if self.version else {}
        return {"event": self.kind, "summary": self.summary, **version, **self.details}


@dataclass(frozen=True, slots=True)
class CellResult:
    """One cell of a comparison: what one strategy picked with one budget on one draw, what that cost and brought."""

    language: str
    seed: int
    budget: int
    strategy: str
    rows: int
    """Test rows."""
    exact: float
    """Share of them that were answered exactly."""
    intent: float
    """Share of them whose intent is right."""
    loss_per_byte: float
    picked: int
    clusters_picked: int
    languages_picked: Mapping[str, int]
    """Picked rows by language, the most frequent first."""
    steps: int
    tokens: int
    train_seconds: float
    peak_memory_bytes: int
    run: str
    """The cell's run folder."""
    response_loss: float = math.nan
    """The training loss of a response in the last epoch, in nats; nan where nobody wrote it down."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self) | {"response_loss": _or_null(self.response_loss)}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A cell in a comparison's folder that the comparison does not show."""

    folder: str
    """Its name."""
    reason: str

    def to_dict(self) -> dict[str, str]:
        """Return a JSON-ready dict."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of a strategy, the first one where it was trained, against another one, paired by test row."""

    budget: int | None
    """None: all budgets."""
    language: str
    """Empty: all languages."""
    metric: str
    """`exact`, `intent`, `loss`, and of free text `chrf`, `token_f1` and `rouge_l`."""
    strategy: str
    against: str
    rows: int
    units: int
    """Test items: rows of one item count together."""
    value: float
    """Of `strategy`."""
    other: float
    """Of `against`."""
    interval: Interval
    """Of value − other, over test items."""
    p_value: float
    """Of the paired permutation test."""
    p_holm: float
    """The same after Holm's correction for the number of strategies."""
    cohens_d: float
    detectable: float
    """Smallest difference that so many items would have shown with a power of 0.8."""
    runs: int
    """Pairs of trainings."""
    between_runs: Interval
    """Mean difference over pairs of trainings, with its t interval."""
    runs_p_value: float
    """Of the paired t test over them."""
    runs_p_holm: float

    def to_dict(self) -> dict[str, Any]:
        """Return a row of `comparisons.json`."""
        return {
            "budget": self.budget,
            "language": self.language,
            "metric": self.metric,
            "strategy": self.strategy,
            "against": self.against,
            "rows": self.rows,
            "units": self.units,
            "value": self.value,
            "other": self.other,
            "difference": self.interval.value,
            "low": self.interval.low,
            "high": self.interval.high,
            "p_value": self.p_value,
            "p_holm": self.p_holm,
            "cohens_d": _or_null(self.cohens_d),
            "detectable": _or_null(self.detectable),
            "runs": self.runs,
            "runs_difference": _or_null(self.between_runs.value),
            "runs_low": _or_null(self.between_runs.low),
            "runs_high": _or_null(self.between_runs.high),
            "runs_p_value": _or_null(self.runs_p_value),
            "runs_p_holm": _or_null(self.runs_p_holm),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Comparison:
        """Read back what `to_dict` returned."""
        return cls(
            budget=content["budget"],
            language=content["language"],
            metric=content["metric"],
            strategy=content["strategy"],
            against=content["against"],
            rows=content["rows"],
            units=content["units"],
            value=content["value"],
            other=content["other"],
            interval=Interval(content["difference"], content["low"], content["high"]),
            p_value=content["p_value"],
            p_holm=content["p_holm"],
            cohens_d=_or_nan(content["cohens_d"]),
            detectable=_or_nan(content["detectable"]),
            runs=content["runs"],
            between_runs=Interval(*(_or_nan(content[f"runs_{end}"]) for end in ("difference", "low", "high"))),
            runs_p_value=_or_nan(content["runs_p_value"]),
            runs_p_holm=_or_nan(content["runs_p_holm"]),
        )


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
