"""Greedy decoding: one row at a time is the reference, for continuous and for fixed batches."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from compass.signals import handled
from compass.training import decoding
from compass.training.decoding import greedy
from compass.training.models import BaseModel, load_base

STOPS, PAD = (0, 7), 0


@pytest.fixture(scope="module")
def model(tiny: BaseModel) -> Any:
    return load_base(tiny, dtype="float32").eval()


@pytest.fixture(scope="module")
def prompts(model: Any) -> list[list[int]]:
    """Thirty prompts of 1 to 300 tokens: longer ones than a step of continuous batching takes at once."""
    rng = np.random.default_rng(0)
    lengths = [1, 2, 300, *rng.integers(3, 40, size=27)]
    return [rng.integers(10, model.config.vocab_size, size=n).tolist() for n in lengths]


def one_by_one(model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[list[int]]:
    """Decode by the model's own forward pass: no cache, no batch, no library."""
    import torch

    answers = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(max_new_tokens):
            with torch.inference_mode():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] in STOPS:
                break
        answers.append(ids[len(prompt) :])
    return answers


def decode(model: Any, prompts: Sequence[Sequence[int]], batch_size: int = 8) -> list[list[int]]:
    """Return the answers up to and with the stop, without padding."""
    found = dict(greedy(model, prompts, stops=STOPS, pad=PAD, max_new_tokens=12, batch_size=batch_size))
    assert sorted(found) == list(range(len(prompts)))
    answers = []
    for i in range(len(prompts)):
        ends = [place for place, token in enumerate(found[i]) if token in STOPS]
        answers.append(found[i][: ends[0] + 1] if ends else found[i])
    return answers


@pytest.fixture(scope="module")
def reference(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    answers = one_by_one(model, prompts, 12)
    assert len({len(answer) for answer in answers}) > 1, "answers of different lengths, or nothing is tested"
    return answers


@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_a_row_that_takes_a_place_that_became_free_answers_as_if_alone(
    model: Any, prompts: list[list[int]], reference: list[list[int]], batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of the cache that is handed on with its old content shows as another answer."""
    monkeypatch.setattr(decoding, "_in_batches", lambda *_: iter(()))
    assert decode(model, prompts, batch_size) == reference


def test_fixed_batches_answer_the_same(
    model: Any, prompts: list[list[int]], reference: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU, a long context or a model that continuous batching does not know must not change an answer."""
    monkeypatch.setattr(decoding, "LARGEST_CACHE", 0)
    assert decode(model, prompts) == reference
    monkeypatch.undo()
    monkeypatch.setattr(type(model), "init_continuous_batching", _refuse)
    assert decode(model, prompts) == reference


@pytest.mark.parametrize("cache", [decoding.LARGEST_CACHE, 0])
def test_what_a_model_brings_for_chatting_does_not_count(
    model: Any, prompts: list[list[int]], reference: list[list[int]], monkeypatch: pytest.MonkeyPatch, cache: int
) -> None:
    """A penalty on repetition would rule out answers that copy the prompt, on GPUs alone."""
    monkeypatch.setattr(decoding, "LARGEST_CACHE", cache)
    for name, value in {"repetition_penalty": 3.0, "no_repeat_ngram_size": 1, "min_new_tokens": 12}.items():
        monkeypatch.setattr(model.generation_config, name, value)
    assert decode(model, prompts) == reference


def _refuse(*_: object, **__: object) -> None:
    raise ValueError("no such attention")


def test_what_fails_on_the_way_is_decoded_in_fixed_batches(
    model: Any,
    prompts: list[list[int]],
    reference: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A run of hours must not end on a library's thread that died."""
    forward, calls = model.forward, 0

    def breaks(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise RuntimeError("out of luck")
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", breaks)
    with caplog.at_level(logging.WARNING):
        assert decode(model, prompts) == reference
    assert "continuous batching ended early" in caplog.text


def test_a_reader_that_leaves_stops_the_thread(model: Any, prompts: list[list[int]]) -> None:
    """Ctrl-C would hang until the last row is answered."""
    before = threading.active_count()
    answers = greedy(model, prompts, stops=STOPS, pad=PAD, max_new_tokens=12, batch_size=2)
    next(answers)
    assert threading.active_count() == before + 1
    answers.close()
    assert threading.active_count() == before


def test_ctrl_c_while_the_thread_stops_is_not_lost(
    model: Any, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping takes up to a second after each test set, and Ctrl-C did nothing meanwhile."""
    from transformers.generation.continuous_batching import ContinuousBatchingManager

    stop, before = ContinuousBatchingManager.stop, threading.active_count()

    def interrupted(*args: Any, **kwargs: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        stop(*args, **kwargs)

    monkeypatch.setattr(ContinuousBatchingManager, "stop", interrupted)
    with handled(signal.SIGINT, signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        decode(model, prompts[:3])
    assert threading.active_count() == before


def test_nothing_else_is_changed(model: Any, prompts: list[list[int]]) -> None:
    """What comes after an evaluation would depend on it: other weights from the same seed, another model to score."""
    import torch

    before, attention = model.generation_config.to_dict(), model.config._attn_implementation
    state = torch.random.get_rng_state()
    decode(model, prompts[:3])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.generation_config.to_dict() == before
    assert model.config._attn_implementation == attention
