"""Per-row scores of answers: function calls where the expected response is one, plain text elsewhere.

A function call is a flat JSON object with a string under `intent`; every other key is a slot:
`{"intent":"StartTimer","minutes":5}`.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray64 = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

INTENT_KEY = "intent"
"""The key that names the function; every other key is a slot."""

MAX_STARTS = 32
"""Opening braces tried before an answer counts as no call: keeps an answer of thousands of braces linear."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function call: its intent and its slots as (key, canonical JSON value) pairs, in no order."""

    intent: str
    slots: frozenset[tuple[str, str]]


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


def parse_call(text: str) -> Call | None:
    """Read the first JSON object in `text` as a function call; None where there is none or it names no intent.

    Text around the object is ignored. Strings are compared in NFC, 5 equals 5.0, and true differs from 1.
    NaN and Infinity are not JSON and make the object unreadable. Never raises.
    """
    value = _first_object(text)
    if value is None:
        return None
    intent = value.get(INTENT_KEY)
    if not isinstance(intent, str):
        return None
    try:
        slots = frozenset((_nfc(key), _canonical(slot)) for key, slot in value.items() if key != INTENT_KEY)
    except RecursionError:
        return None
    return Call(_nfc(intent), slots)


def parse_response(text: str) -> Call | None:
    """Read an expected response as a function call; None unless the object is all there is in the text."""
    stripped = text.strip()
    if not (stripped.startswith("{") and stripped.endswith("}")):
        return None
    try:
        json.loads(stripped)
    except (ValueError, RecursionError):
        return None
    return parse_call(stripped)


def score_rows(responses: Sequence[str], predictions: Sequence[str], seen_labels: Collection[str] = ()) -> RowScores:
    """Score each prediction against its expected response.

    Where the response is a function call the call decides: key order, spacing and text after the object are
    irrelevant. Elsewhere the stripped NFC texts must be equal. Slot pairs count whether or not the intents agree, so
    slot F1 and intent accuracy can be read apart. Raises ValueError if the lengths differ.
    """
    if len(responses) != len(predictions):
        raise ValueError(f"each response needs one prediction; got {len(responses)} and {len(predictions)}")
    labels = {_nfc(label) for label in seen_labels}
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
            scores.exact[i] = _nfc(response.strip()) == _nfc(prediction.strip())
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


def _first_object(text: str) -> dict[str, Any] | None:
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    start = -1
    for _ in range(MAX_STARTS):
        start = text.find("{", start + 1)
        if start < 0:
            return None
        try:
            value, _end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, dict) else None
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _canonical(value: Any) -> str:
    return json.dumps(_normalise(value), ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _normalise(value: Any) -> Any:
    if isinstance(value, str):
        return _nfc(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_normalise(item) for item in value]
    if isinstance(value, dict):
        return {_nfc(key): _normalise(item) for key, item in value.items()}
    return value


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
