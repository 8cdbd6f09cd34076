"""The states whose next token has a label, and what they cost."""

from __future__ import annotations

from typing import Any

import torch

from compass.training.head import IGNORED, response_nll, response_states
from compass.training.models import BaseModel, load_base

LABELS = torch.tensor([[IGNORED, IGNORED, 7, 8], [IGNORED, 5, 6, IGNORED]])
INPUTS = {
    "input_ids": torch.tensor([[3, 4, 7, 8], [4, 5, 6, 0]]),
    "attention_mask": torch.tensor([[1] * 4, [1, 1, 1, 0]]),
}


def test_states_give_the_models_own_loss_and_the_vocabulary_is_not_touched_for_them(tiny: BaseModel) -> None:
    model = load_base(tiny, dtype="float32")
    asked: list[int] = []

    def note(_head: Any, arguments: tuple[Any, ...], _output: Any) -> None:
        asked.append(arguments[0].numel())

    hook = model.get_output_embeddings().register_forward_hook(note)
    states, targets = response_states(model, INPUTS, LABELS)
    hook.remove()
    assert targets.tolist() == [7, 8, 5, 6]
    assert states.shape == (4, model.config.hidden_size)
    assert sum(asked) == 0
    with torch.no_grad():
        own = model(**INPUTS, labels=LABELS).loss
        assert torch.allclose(response_nll(model, INPUTS, LABELS) / 4, own, atol=1e-6)
