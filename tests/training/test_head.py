"""The states whose next token has a label, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compass.training.head import IGNORED, head_nll, response_nll, response_states
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


@pytest.mark.parametrize("n", [1, 8, 19])
def test_a_frozen_head_gives_torchs_loss_and_its_gradient(n: int) -> None:
    """Rows are worked on eight at a time; torch's own cross-entropy is the reference."""
    generator = torch.Generator().manual_seed(n)
    head = torch.nn.Linear(12, 30, bias=False).requires_grad_(False)
    targets = torch.randint(30, (n,), generator=generator)
    found = []
    for loss_of in (head_nll, lambda head, x, its: torch.nn.functional.cross_entropy(head(x), its, reduction="sum")):
        hidden = torch.randn(n, 12, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss = loss_of(head, hidden, targets)
        (loss / 3).backward()
        assert hidden.grad is not None
        found.append((loss.detach(), hidden.grad))
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)
    with torch.no_grad():
        assert torch.equal(head_nll(head, hidden, targets), found[0][0])


def test_a_head_that_is_trained_or_has_a_bias_gets_its_own_gradient() -> None:
    for head in (torch.nn.Linear(12, 30, bias=False), torch.nn.Linear(12, 30)):
        head_nll(head, torch.ones(2, 12), torch.tensor([3, 4])).backward()
        assert head.weight.grad is not None
