"""Greedy decoding: one row at a time is the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from compass.training import decoding
from compass.training.decoding import greedy, likeliest, loop
from compass.training.models import BaseModel, load_base

STOPS, PAD = (0, 7), 0


@pytest.fixture(scope="module")
def model(tiny: BaseModel) -> Any:
    return load_base(tiny, dtype="float32").eval()


@pytest.fixture(scope="module")
def prompts(model: Any) -> list[list[int]]:
    """Thirty prompts of 1 to 300 tokens."""
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


def decode(
    model: Any, prompts: Sequence[Sequence[int]], batch_size: int = 8, begun: Sequence[Sequence[int]] = ()
) -> list[list[int]]:
    found = dict(greedy(model, prompts, begun=begun, stops=STOPS, pad=PAD, max_new_tokens=12, batch_size=batch_size))
    assert sorted(found) == list(range(len(prompts)))
    return [found[i] for i in range(len(prompts))]


@pytest.fixture(scope="module")
def reference(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    answers = one_by_one(model, prompts, 12)
    assert len({len(answer) for answer in answers}) > 1, "answers of different lengths, or nothing is tested"
    return answers


@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_a_row_whose_neighbours_have_ended_answers_as_if_alone(
    model: Any, prompts: list[list[int]], reference: list[list[int]], batch_size: int
) -> None:
    """Keys and values of another row, or a place that is one off, show as another answer."""
    assert decode(model, prompts, batch_size) == reference


def test_a_model_that_keeps_no_keys_and_values_answers_through_the_library(
    model: Any, prompts: list[list[int]], reference: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state-space model has another memory, and must be served all the same."""
    monkeypatch.setattr(type(model), "_is_stateful", True)
    assert decode(model, prompts) == reference
    begun = [answer[:2] for answer in reference]
    assert decode(model, prompts, begun=begun) == reference


def test_what_a_model_brings_for_chatting_does_not_count(
    model: Any, prompts: list[list[int]], reference: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A penalty on repetition would rule out answers that copy the prompt."""
    for name, value in {"repetition_penalty": 3.0, "no_repeat_ngram_size": 1, "min_new_tokens": 12}.items():
        monkeypatch.setattr(model.generation_config, name, value)
    assert decode(model, prompts) == reference
    monkeypatch.setattr(type(model), "_is_stateful", True)
    assert decode(model, prompts) == reference


@pytest.mark.parametrize("known", [1, 3, 12])
def test_an_answer_goes_on_from_what_is_known_of_it(
    model: Any, prompts: list[list[int]], reference: list[list[int]], known: int
) -> None:
    """Also where all of it is known, or more than nothing of some rows alone."""
    begun = [answer[:known] if i % 2 else [] for i, answer in enumerate(reference)]
    assert decode(model, prompts, begun=begun) == reference


def test_a_batch_takes_no_more_memory_than_it_may(
    model: Any, prompts: list[list[int]], reference: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of many layers and a long prompt, in a batch as large as the option says."""
    config, sizes = model.config, []
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    monkeypatch.setattr(decoding, "CACHE_BYTES", 100 * per_token)
    start = decoding.RowsOnCache.__init__

    def counted(self: Any, model: Any, rows: Any, pad: int) -> None:
        sizes.append((len(rows), max(map(len, rows))))
        start(self, model, rows, pad)

    monkeypatch.setattr(decoding.RowsOnCache, "__init__", counted)
    assert decode(model, prompts, 64) == reference
    assert all(rows * (length + 12) <= 100 or rows == 1 for rows, length in sizes)
    assert max(rows for rows, _ in sizes) > 2


@pytest.mark.parametrize(
    ("tokens", "repeated"),
    [
        ([5] * 16, [5]),
        ([5] * 15, []),
        ([1, 2, 3, *[7, 8] * 8], [7, 8]),
        ([*range(10), *range(10), *range(10)], [*range(10)]),
        ([*range(10), *range(10), *range(9)], []),
        ([9, *[1, 2, 3, 4, 5, 6] * 3], [1, 2, 3, 4, 5, 6]),
        ([*[1, 2, 3, 4] * 4, 9], []),
        (list(range(40)) * 3, []),
        ([], []),
    ],
)
def test_an_answer_loops_if_its_end_is_said_three_times_and_for_sixteen_tokens(
    tokens: list[int], repeated: list[int]
) -> None:
    """A number of many zeros is no loop, and a list that repeats a word twice is none."""
    assert list(loop(tokens)) == repeated


def test_a_loop_is_taken_to_go_on(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained base model says the same to the limit, and each token of it costs a step."""
    import torch

    steps = 0

    def repeats(self: Any, forward: Any) -> Any:
        nonlocal steps
        steps += 1
        return torch.nn.functional.one_hot(torch.tensor([20 + steps % 3] * len(self)), 64).float()

    monkeypatch.setattr(decoding.RowsOnCache, "logits", repeats)
    found = dict(greedy(model, [[1, 2]], stops=[0], pad=0, max_new_tokens=40, batch_size=4))
    assert found == {0: [20 + (at + 1) % 3 for at in range(40)]}
    assert steps == 16


@pytest.mark.parametrize("vocabulary", [512, 262_144 // 64, 1_003, 96])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_likeliest_token_is_argmax_first_of_equals_included(vocabulary: int, dtype: str) -> None:
    """In numbers of two bytes the largest is often there twice."""
    import torch

    logits = torch.randn((64, vocabulary), generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    expected = logits.float().numpy().argmax(axis=1)
    assert likeliest(logits).tolist() == expected.tolist()


def test_nothing_else_is_changed(model: Any, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after an evaluation would depend on it: other weights from the same seed, another model to score."""
    import torch

    before, attention = model.generation_config.to_dict(), model.config._attn_implementation
    state = torch.random.get_rng_state()
    decode(model, prompts[:3])
    monkeypatch.setattr(type(model), "_is_stateful", True)
    decode(model, prompts[:3])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.generation_config.to_dict() == before
    assert model.config._attn_implementation == attention
