"""Per-row scores of answers: function calls where the expected response is one (`data.calls`), else plain text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compass.data.calls import nfc, parse_call, parse_response

IntArray = npt.NDArray[np.int64]
FloatArray64 = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RowScores:
    """Scores of n answers, row by row; each metric is a ratio of sums over these arrays."""

    exact: BoolArray
    """(n,) the whole answer is right."""
    is_call: BoolArray
    """(n,) the expected response is a function call; the next fields are zero where it is not."""
    intent_correct: BoolArray
    """(n,) the answer is a call of the expected intent."""
    slots_shared: IntArray
    """(n,) (key, value) pairs in both the answer and the response, whether or not the intents agree."""
    slots_predicted: IntArray
    """(n,) pairs in the answer."""
    slots_expected: IntArray
    """(n,) pairs in the response."""
    seen: BoolArray
    """(n,) the answer's intent is one of the seen labels."""


def score_rows(responses: Sequence[str], predictions: Sequence[str], seen_labels: Collection[str] = ()) -> RowScores:
    """Score each prediction against its expected response.

    Where the response is a function call the call decides: key order, spacing and text after the object are
    irrelevant. Elsewhere the stripped NFC texts must be equal. Slot pairs count whether or not the intents agree, so
    slot F1 and intent accuracy can be read apart. Raises ValueError if the lengths differ.
    """
    if len(responses) != len(predictions):
        raise ValueError(f"each response needs one prediction; got {len(responses)} and {len(predictions)}")
    labels = {nfc(label) for label in seen_labels}
    n = len(responses)
    scores = RowScores(
        exact=np.zeros(n, np.bool_),
        is_call=np.zeros(n, np.bool_),
        intent_correct=np.zeros(n, np.bool_),
        slots_shared=np.zeros(n, np.int64),
        slots_predicted=np.zeros(n, np.int64),
        slots_expected=np.zeros(n, np.int64),
        seen=np.zeros(n, np.bool_),
    )
    for i, (response, prediction) in enumerate(zip(responses, predictions, strict=True)):
        expected = parse_response(response)
        if expected is None:
            scores.exact[i] = nfc(response.strip()) == nfc(prediction.strip())
            continue
        scores.is_call[i] = True
        scores.slots_expected[i] = len(expected.slots)
        call = parse_call(prediction)
        if call is None:
            continue
        scores.exact[i] = call == expected
        scores.intent_correct[i] = call.intent == expected.intent
        scores.slots_predicted[i] = len(call.slots)
        scores.slots_shared[i] = len(call.slots & expected.slots)
        scores.seen[i] = call.intent in labels
    return scores


def ratios(
    scores: RowScores, nats: FloatArray64, n_bytes: FloatArray64
) -> dict[str, tuple[FloatArray64, FloatArray64]]:
    """Return each metric as (numerators, denominators), both (n,): its value is the ratio of their sums.

    exact_match: over all rows. intent_accuracy, seen_label_share: over the rows whose response is a call.
    slot_f1: 2 shared / (predicted + expected), micro-averaged over those rows. loss_per_byte: nats of the responses
    over their UTF-8 bytes.
    """
    calls = scores.is_call.astype(np.float64)
    return {
        "exact_match": (scores.exact.astype(np.float64), np.ones(len(scores.exact))),
        "intent_accuracy": (scores.intent_correct.astype(np.float64), calls),
        "slot_f1": (
            (2 * scores.slots_shared).astype(np.float64),
            (scores.slots_predicted + scores.slots_expected).astype(np.float64),
        ),
        "loss_per_byte": (nats, n_bytes),
        "seen_label_share": (scores.seen.astype(np.float64), calls),
    }


PROPORTIONS = frozenset({"exact_match", "intent_accuracy", "seen_label_share"})
"""The metrics that count rows, so that a binomial interval applies to them."""
