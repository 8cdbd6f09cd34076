"""Pooled hidden states against a row-by-row reference."""

from __future__ import annotations

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from compass.data.example import Example
from compass.encoders import CachedEncoder
from compass.training.formatting import encode_example
from compass.training.hidden_states import HiddenStates
from compass.training.models import load_tokenizer

TEXTS = ["golau", "turn on all of the lights in the kitchen", "灯", "", "turn off"]


def reference(base, text, max_length=512):
    """Return the weighted mean of the last hidden states of one text, without a batch and without padding."""
    tokenizer, model = load_tokenizer(base), AutoModelForCausalLM.from_pretrained(base.path).eval()
    ids = encode_example(tokenizer, Example(id="0", prompt=text)).prompt[-max_length:]
    with torch.no_grad():
        states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0].double().numpy()
    pooled = np.average(states, axis=0, weights=np.arange(1, len(ids) + 1))
    return pooled / np.linalg.norm(pooled)


def test_states_are_pooled_by_position(tiny):
    """Breaks if padding leaks in, weights do not grow with the position, or another layer is read."""
    rows = HiddenStates(tiny, dtype="float32").encode(TEXTS)
    assert rows.dtype == np.float32
    for row, text in zip(rows, TEXTS, strict=True):
        np.testing.assert_allclose(row, reference(tiny, text), atol=2e-6)


def test_long_prompts_keep_their_end(tiny):
    """Breaks if a long prompt is refused or loses its last words."""
    row = HiddenStates(tiny, max_length=8, dtype="float32").encode([TEXTS[1]])[0]
    np.testing.assert_allclose(row, reference(tiny, TEXTS[1], 8), atol=2e-6)


def test_it_is_an_encoder_that_can_be_cached(tiny, tmp_path):
    """Breaks if two settings share a cache folder, or cached rows differ from fresh ones."""
    encoder = CachedEncoder(HiddenStates(tiny), tmp_path)
    first = encoder.encode(TEXTS)
    assert encoder.missing(TEXTS) == []
    np.testing.assert_array_equal(first, CachedEncoder(HiddenStates(tiny), tmp_path).encode(TEXTS))
    assert HiddenStates(tiny).name != HiddenStates(tiny, max_length=8).name
