"""Tests of a batch in which each row has an adapter of its own."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.errors import DataError, ModelError
from compass.training.decoding import WORTH_A_CUT
from compass.training.generation import LanguageModel
from compass.training.mixed import MixedModel, Row
from compass.training.models import BaseModel
from compass.training.trainer import lora_config, save_adapter

ROWS = [Example(id=str(i), prompt="golau " * (1 + 3 * i)) for i in range(3)]
"""Prompts of unlike lengths, so that a batch has padding."""
TOKENS = 12


def make_adapter(base: BaseModel, folder: Path, seed: int, *, use_dora: bool = False) -> Path:
    """Save an adapter of large random weights, so that it answers unlike the base model."""
    import torch
    from peft import get_peft_model

    from compass.training.models import load_base

    config = dataclasses.replace(TrainingConfig(), lora_r=4, use_dora=use_dora)
    model = get_peft_model(load_base(base), lora_config(base, config))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name and "magnitude" not in name:
                weight.normal_(0, 0.4)
    save_adapter(model, base, folder)
    return folder


@pytest.fixture(scope="module")
def adapters(tiny: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {name: make_adapter(tiny, root / name, seed) for seed, name in enumerate(("cy@1", "el@2"))}


def alone(base: BaseModel, adapter: Path | None) -> list[str]:
    return LanguageModel(base, adapter, dtype="float32").generate(ROWS, max_new_tokens=TOKENS, batch_size=1)


def answered(model: MixedModel, names: list[str]) -> list[str]:
    rows = [
        Row(model.prompt_of([{"role": "user", "content": row.prompt}], name), name, TOKENS)
        for name in names
        for row in ROWS
    ]
    batch = model.start(rows)
    while any(not row.finished for row in batch.step()):
        pass
    return [model.text_of(row.tokens).split("\n")[0].strip() for row in rows]


def first_lines(answers: list[str]) -> list[str]:
    return [answer.split("\n")[0].strip() for answer in answers]


def test_each_row_of_a_batch_is_answered_as_by_its_adapter_alone(tiny: BaseModel, adapters: dict[str, Path]) -> None:
    """Padding, another row's adapter or a shared cache would change answers without a sign."""
    model = MixedModel(tiny, dtype="float32")
    for name, folder in adapters.items():
        model.load(name, folder)
    names = ["el@2", "", "cy@1"]
    wanted = [alone(tiny, adapters.get(name)) for name in names]
    assert answered(model, names) == [answer for answers in wanted for answer in first_lines(answers)]
    assert wanted[0] != wanted[1] != wanted[2] != wanted[0]


def test_batches_of_one_adapter_and_of_several_take_turns(tiny: BaseModel, adapters: dict[str, Path]) -> None:
    """A batch of one adapter takes a shorter way, on which the next batch would answer with the adapter of the last."""
    model = MixedModel(tiny, dtype="float32")
    for name, folder in adapters.items():
        model.load(name, folder)
    wanted = {name: first_lines(alone(tiny, adapters.get(name))) for name in ("cy@1", "el@2", "")}
    for names in (["cy@1"], ["el@2"], [""], ["el@2", "cy@1", ""], ["el@2"], ["cy@1", ""], ["cy@1"]):
        assert answered(model, names) == [answer for name in names for answer in wanted[name]]


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_batches_that_join_answer_as_alone(tiny: BaseModel, adapters: dict[str, Path], steps: int) -> None:
    """Requests that come while others run would get answers of their own making, by padding put at a wrong place."""
    model = MixedModel(tiny, dtype="float32")
    for name, folder in adapters.items():
        model.load(name, folder)
    names = ["el@2", "", "cy@1"]
    rows = [
        [Row(model.prompt_of([{"role": "user", "content": row.prompt}], name), name, TOKENS) for row in ROWS]
        for name in names
    ]
    batch = model.start(rows[0])
    for later in rows[1:]:
        for _ in range(steps):
            batch.step()
        other = model.start(later)
        other.step()
        assert batch.join(other)
        assert not set(map(id, later)) - set(map(id, batch.rows))
    while any(not row.finished for row in batch.step()):
        pass
    found = [[model.text_of(row.tokens).split("\n")[0].strip() for row in part] for part in rows]
    assert found == [first_lines(alone(tiny, adapters.get(name))) for name in names]


@pytest.mark.parametrize("window", [None, 20])
def test_a_batch_that_never_empties_stays_small(tiny: BaseModel, tmp_path: Path, window: int | None) -> None:
    """Where somebody always waits, the cache would grow by a token each step, and in the end take all memory."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    for file in Path(tiny.path).glob("*token*"):
        shutil.copy(file, tmp_path)
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, sliding_window=window, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(tmp_path)
    model = MixedModel(BaseModel(str(tmp_path), str(tmp_path), "local", ""), dtype="float32")
    # Random weights may end an answer at once.
    model._ends = frozenset()
    prompts = [model.ids_of(f"golau {number}") for number in range(40)]
    rows = [Row(prompt, "", 30) for prompt in prompts]
    batch = model.start(rows[:1])
    for row in rows[1:]:
        for _ in range(4):
            batch.step()
        other = model.start([row])
        other.step()
        assert batch.join(other)
    assert batch._cached.width < 30 + 4 + len(prompts[-1]) + WORTH_A_CUT
    while any(not row.finished for row in batch.step()):
        pass
    for row in rows[::4]:
        alone = Row(row.prompt, "", 30)
        single = model.start([alone])
        while any(not one.finished for one in single.step()):
            pass
        assert row.tokens == alone.tokens


def test_unloading_leaves_the_others_and_in_the_end_the_base_model(tiny: BaseModel, adapters: dict[str, Path]) -> None:
    model = MixedModel(tiny, dtype="float32")
    base = first_lines(alone(tiny, None))
    assert answered(model, [""]) == base
    for name, folder in adapters.items():
        model.load(name, folder)
    model.unload("cy@1")
    model.unload("cy@1")
    assert answered(model, ["el@2", ""]) == [*first_lines(alone(tiny, adapters["el@2"])), *base]
    model.unload("el@2")
    assert answered(model, [""]) == base
    model.load("cy@3", adapters["cy@1"])
    assert answered(model, ["cy@3"]) == first_lines(alone(tiny, adapters["cy@1"]))


def test_a_row_that_has_ended_leaves_the_others(tiny: BaseModel, adapters: dict[str, Path]) -> None:
    """A limit of tokens, or a client that went, must not end or change its neighbours' answers."""
    model = MixedModel(tiny, dtype="float32")
    model.load("cy@1", adapters["cy@1"])
    prompts = [model.ids_of(row.prompt) for row in ROWS]
    whole = [Row(prompt, "cy@1", TOKENS) for prompt in prompts]
    batch = model.start(whole)
    while any(not row.finished for row in batch.step()):
        pass
    short = [Row(prompt, "cy@1", limit) for prompt, limit in zip(prompts, (TOKENS, 2, 5), strict=True)]
    batch = model.start(short)
    batch.step()
    short[2].finished = "stop"
    while any(not row.finished for row in batch.step()):
        pass
    assert short[0].tokens == whole[0].tokens
    assert (short[1].tokens, short[1].finished) == (whole[1].tokens[:2], "length")
    assert short[2].tokens == whole[2].tokens[:1]


def test_sampling_is_seeded_and_top_p_keeps_the_likeliest(tiny: BaseModel) -> None:
    model = MixedModel(tiny, dtype="float32")

    def drawn(**more: float | int) -> list[int]:
        options: dict[str, Any] = {"temperature": 1.0, **more}
        row = Row(model.ids_of("golau"), "", TOKENS, **options)
        batch = model.start([row])
        while any(not row.finished for row in batch.step()):
            pass
        return row.tokens

    greedy = Row(model.ids_of("golau"), "", TOKENS)
    batch = model.start([greedy])
    while any(not row.finished for row in batch.step()):
        pass
    assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)
    # Logits over so little overflow, and whoever shares the batch would get an error too.
    for temperature in (1e-310, 1e-40, 1e-6):
        assert drawn(seed=1, temperature=temperature) == greedy.tokens
    assert drawn(seed=1, top_p=1e-6) == drawn(seed=1, top_p=0) == greedy.tokens


def test_the_adapters_own_template_puts_the_prompt(tiny: BaseModel, adapters: dict[str, Path], tmp_path: Path) -> None:
    """What travels with the adapter decides, not what this version of the package would write."""
    other = tmp_path / "adapter"
    shutil.copytree(adapters["cy@1"], other)
    (other / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!", encoding="utf-8")
    older = tmp_path / "older"
    shutil.copytree(adapters["cy@1"], older)
    (older / "chat_template.jinja").unlink()
    model = MixedModel(tiny, dtype="float32")
    model.load("a", other)
    model.load("b", older)
    messages = [{"role": "user", "content": "hi"}]
    assert [model.text_of(model.prompt_of(messages, name)) for name in ("a", "b", "")] == ["hi!", "hi\n", "hi\n"]


def test_what_does_not_fit_is_refused(tiny: BaseModel, tmp_path: Path) -> None:
    """peft would leave DoRA's magnitudes out, or raise in the middle of a batch."""
    model = MixedModel(tiny, dtype="float32")
    with pytest.raises(ModelError, match="DoRA"):
        model.load("cy@1", make_adapter(tiny, tmp_path / "dora", 0, use_dora=True))
    with pytest.raises(ModelError, match="not an adapter folder"):
        model.load("cy@1", tmp_path)
    model._templates[""] = "{{ raise_exception('no system turn') }}"
    with pytest.raises(DataError, match="no system turn"):
        model.prompt_of([{"role": "system", "content": "x"}], "")
