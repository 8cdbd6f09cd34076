"""Evaluating a stand-in model, and comparing two of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from compass.config import EvaluationConfig
from compass.data.example import Example
from compass.errors import DataError, ModelError
from compass.evaluation.evaluate import Evaluation, compare, compare_by_cluster, evaluate, sample_rows

EXAMPLES = [
    Example(id=f"r{i}", prompt=f"p{i}", response=json.dumps({"intent": f"I{i % 3}", "n": i}), language="cy")
    for i in range(40)
]
CONFIG = EvaluationConfig()


class Oracle:
    """Answers right on the rows whose number is below `right`; else it says intent I0. One nat a row."""

    def __init__(self, right: int, nats: float = 1.0) -> None:
        self.right = right
        self.nats = nats
        self.asked: list[str] = []

    def generate(self, examples: Sequence[Example], *, max_new_tokens: int, batch_size: int) -> list[str]:
        """Answer each example; remember what was asked."""
        assert (max_new_tokens, batch_size) == (64, 256)
        self.asked = [example.id for example in examples]
        return [e.response if int(e.prompt[1:]) < self.right else '{"intent":"I0"}' for e in examples]

    def loss(self, examples: Sequence[Example]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return a fixed loss."""
        sizes = np.array([len(e.response.encode()) for e in examples], np.float64)
        return np.full(len(examples), self.nats), sizes


def run(right: int, nats: float = 1.0, config: EvaluationConfig = CONFIG, **kwargs: object) -> Evaluation:
    """Evaluate an oracle on the 40 rows."""
    return evaluate(Oracle(right, nats), EXAMPLES, name="cy", language="cy", config=config, seed=0, **kwargs)  # type: ignore[arg-type]


def test_values() -> None:
    """A metric of the summary would not be that of the rows."""
    evaluation = run(10, seen_labels={"I0"})
    values = {name: interval.value for name, interval in evaluation.metrics.items()}
    wrong_but_same_intent = sum(i % 3 == 0 for i in range(10, 40))
    right_i0 = sum(i % 3 == 0 for i in range(10))
    assert values["exact_match"] == 10 / 40
    assert values["intent_accuracy"] == (10 + wrong_but_same_intent) / 40
    assert values["slot_f1"] == pytest.approx(2 * 10 / (10 + 40))
    assert values["loss_per_byte"] == pytest.approx(40 / sum(len(e.response) for e in EXAMPLES))
    assert values["seen_label_share"] == (right_i0 + 30) / 40
    assert all(v.low <= v.value <= v.high for v in evaluation.metrics.values())


def test_rows_of_one_item_are_no_independent_rows() -> None:
    """A test that asks each question in four languages would give an interval half as wide as it is."""
    four = [replace(row, id=f"{row.id}-{i}", parallel_id=row.id) for row in EXAMPLES for i in range(4)]
    once, repeated = (
        evaluate(Oracle(20), rows, name="cy", language="cy", config=CONFIG, seed=0).metrics["exact_match"]
        for rows in (EXAMPLES, four)
    )
    assert repeated == once


def test_json_form() -> None:
    """The report would not find the fields that the run folder promises."""
    clusters = [i // 20 for i in range(40)]
    row = run(10, clusters=clusters, seen_labels=["I0"]).to_dict()
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert (row["name"], row["language"], row["rows"]) == ("cy", "cy", 40)
    assert set(row["metrics"]) == {"exact_match", "intent_accuracy", "slot_f1", "loss_per_byte", "seen_label_share"}
    assert set(row["metrics"]["slot_f1"]) == {"value", "low", "high"}
    assert [(c["cluster"], c["rows"], c["exact_match"]) for c in row["by_cluster"]] == [(0, 20, 0.5), (1, 20, 0.0)]
    assert row["by_cluster"][1]["high"] > 0.1


def test_metrics_that_nothing_bears_on_are_left_out() -> None:
    """Plain-text tests would report an intent accuracy of nan, and runs without labels a share of 0."""
    assert "seen_label_share" not in run(10).metrics
    plain = [Example(id="a", prompt="p0", response="Paris")]
    evaluation = evaluate(Oracle(1), plain, name="t", language="en", config=CONFIG, seed=0)
    assert list(evaluation.metrics) == ["exact_match", "loss_per_byte"]


def test_row_choice_is_the_seeds_alone() -> None:
    """Base and adapter would meet different rows, or clusters would belong to other rows."""
    config = EvaluationConfig(max_test_rows=15)
    clusters = list(range(40))
    first, second = run(0, config=config, clusters=clusters), run(40, config=config, clusters=clusters)
    assert [e.id for e in first.examples] == [e.id for e in second.examples]
    assert first.clusters is not None
    assert [f"r{c}" for c in first.clusters] == [e.id for e in first.examples]
    assert first.rows_left_out == 25
    assert sample_rows(40, 15, 0) != sample_rows(40, 15, 1)


def test_compare() -> None:
    """Differences would have the wrong sign, or miss a metric."""
    differences = {d.metric: d for d in compare(run(10, 2.0), run(30, 1.0))}
    exact = differences["exact_match"]
    assert (exact.base, exact.adapter, exact.interval.value) == (0.25, 0.75, 0.5)
    assert 0.3 < exact.interval.low < 0.5 < exact.interval.high < 0.7
    assert differences["loss_per_byte"].interval.value < 0
    assert set(exact.to_dict()) == {"name", "metric", "base", "adapter", "difference", "low", "high"}


def test_compare_resamples_units() -> None:
    """Rows of one item would be resampled apart."""
    base, adapter = run(10), run(30)
    whole = {d.metric: d for d in compare(base, adapter, units=[i // 20 for i in range(40)])}["exact_match"]
    # Both items gain a half: two alike leave .84 of others unseen in 2.5 % of samples.
    others = 1.0 - 0.025**0.5
    assert (whole.interval.low, whole.interval.high) == pytest.approx((0.5 - 1.5 * others, 0.5 + 0.5 * others))


def test_compare_by_cluster() -> None:
    """The gain of one cluster would be shown for another."""
    clusters = [i // 20 for i in range(40)]
    first, second = compare_by_cluster(run(10, clusters=clusters), run(20, clusters=clusters))
    assert (first.cluster, first.interval.value, second.cluster, second.interval.value) == (0, 0.5, 1, 0.0)
    with pytest.raises(DataError, match="no clusters"):
        compare_by_cluster(run(10), run(20))


def test_compare_refuses_other_rows() -> None:
    """A paired test would pair strangers."""
    config = EvaluationConfig(max_test_rows=15)
    with pytest.raises(DataError, match=r"different rows \(40 and 15\)"):
        compare(run(10), run(10, config=config))


def test_bad_rows_and_bad_models() -> None:
    """A test set without responses, or a diverged model, would give figures instead of a message."""
    with pytest.raises(DataError, match="no rows"):
        evaluate(Oracle(0), [], name="t", language="cy", config=CONFIG, seed=0)
    rows = [EXAMPLES[0], Example(id="b", prompt="p1")]
    with pytest.raises(DataError, match=r"1 of 2 rows have no response, the first is 'b'"):
        evaluate(Oracle(0), rows, name="t", language="cy", config=CONFIG, seed=0)
    with pytest.raises(ModelError, match="loss of row 'r0' is nan"):
        run(0, nats=float("nan"))
    with pytest.raises(ValueError, match="each of the 40 rows; got 1"):
        run(0, clusters=[1])

    class Short(Oracle):
        def generate(self, examples: Sequence[Example], *, max_new_tokens: int, batch_size: int) -> list[str]:
            return ["x"]

    with pytest.raises(ModelError, match="40 rows, but the model gave 1 answers"):
        evaluate(Short(0), EXAMPLES, name="t", language="cy", config=CONFIG, seed=0)
