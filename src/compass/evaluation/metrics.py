"""Per-row scores of answers, by what the expected responses are: function calls, short answers or free text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compass.data.calls import nfc, parse_call, parse_response
from compass.data.classes import LABEL_ROWS, SHORT_RESPONSE
from compass.data.scripts import is_mostly_unspaced
from compass.evaluation.texts import chrf, rouge_l, token_f1, tokens

IntArray = npt.NDArray[np.int64]
FloatArray64 = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


CALLS, SHORT, TEXT = "function calls", "short answers", "free text"
"""What the responses of a test are."""

SHORT_UNSPACED = 8
"""Characters up to which a response is short in scripts without spaces, where they say as much as 20 of others
[ours]."""


def response_shape(responses: Sequence[str]) -> str:
    """Say what more than half of the responses are: `function calls`, `short answers` or `free text`.

    Short are those of at most 20 characters, and longer ones that recur in ten rows, as for the classes of responses
    (`data.classes`). Where no shape has half of the rows, it is `short answers`: what exact match suits.
    """
    plain = [response.strip() for response in responses if parse_response(response) is None]
    rows_of = Counter(map(str.casefold, plain))
    texts = sum(not _is_short(response) and rows_of[response.casefold()] < LABEL_ROWS for response in plain)
    if 2 * texts > len(responses):
        return TEXT
    return CALLS if 2 * len(plain) < len(responses) else SHORT


def _is_short(response: str) -> bool:
    return len(response) <= (SHORT_UNSPACED if is_mostly_unspaced(response) else SHORT_RESPONSE)


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
    is_text: BoolArray
    """(n,) the test is of free text and the response no call; the next fields are zero where it is not."""
    chrf: FloatArray64
    """(n,) in [0, 1], as the next two."""
    token_f1: FloatArray64
    rouge_l: FloatArray64


def score_rows(responses: Sequence[str], predictions: Sequence[str], seen_labels: Collection[str] = ()) -> RowScores:
    """Score each prediction against its expected response.

    Where the response is a function call the call decides: key order, spacing and text after the object are
    irrelevant. Elsewhere the stripped NFC texts must be equal; in a test of free text (`response_shape`) their likeness
    is measured as well. Slot pairs count whether or not the intents agree, so slot F1 and intent accuracy can be read
    apart. Raises ValueError if the lengths differ.
    """
    if len(responses) != len(predictions):
        raise ValueError(f"each response needs one prediction; got {len(responses)} and {len(predictions)}")
    labels = {nfc(label) for label in seen_labels}
    n, free_text = len(responses), response_shape(responses) == TEXT
    scores = RowScores(
        exact=np.zeros(n, np.bool_),
        is_call=np.zeros(n, np.bool_),
        intent_correct=np.zeros(n, np.bool_),
        slots_shared=np.zeros(n, np.int64),
        slots_predicted=np.zeros(n, np.int64),
        slots_expected=np.zeros(n, np.int64),
        seen=np.zeros(n, np.bool_),
        is_text=np.zeros(n, np.bool_),
        chrf=np.zeros(n),
        token_f1=np.zeros(n),
        rouge_l=np.zeros(n),
    )
    for i, (response, prediction) in enumerate(zip(responses, predictions, strict=True)):
        expected = parse_response(response)
        if expected is None:
            scores.exact[i] = nfc(response.strip()) == nfc(prediction.strip())
            if free_text:
                said, wanted = tokens(prediction), tokens(response)
                scores.is_text[i] = True
                scores.chrf[i] = chrf(prediction, response)
                scores.token_f1[i] = token_f1(said, wanted)
                scores.rouge_l[i] = rouge_l(said, wanted)
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
    over their UTF-8 bytes. chrf, token_f1, rouge_l: means over the rows of free text. Those that suit the responses
    come first: with free text that is loss and likeness, as an exact match is luck there.
    """
    calls, ones = scores.is_call.astype(np.float64), np.ones(len(scores.exact))
    texts = scores.is_text.astype(np.float64)
    exact = {"exact_match": (scores.exact.astype(np.float64), ones)}
    loss = {"loss_per_byte": (nats, n_bytes)}
    of_calls = {
        "intent_accuracy": (scores.intent_correct.astype(np.float64), calls),
        "slot_f1": (
            (2 * scores.slots_shared).astype(np.float64),
            (scores.slots_predicted + scores.slots_expected).astype(np.float64),
        ),
    }
    seen = {"seen_label_share": (scores.seen.astype(np.float64), calls)}
    if not scores.is_text.any():
        return exact | of_calls | loss | seen
    likeness = {"chrf": (scores.chrf, texts), "token_f1": (scores.token_f1, texts), "rouge_l": (scores.rouge_l, texts)}
    return loss | likeness | exact | of_calls | seen


PROPORTIONS = frozenset({"exact_match", "intent_accuracy", "seen_label_share"})
"""The metrics that count rows, so that a binomial interval applies to them."""
