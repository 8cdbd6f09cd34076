"""LoRA layers in the type of the base model: the sums of peft's own, and its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from compass.training.quick_lora import quicken


class Block(nn.Module):
    def __init__(self, *, bias: bool = False) -> None:
        super().__init__()
        self.up = nn.Linear(24, 40, bias=bias)
        self.down = nn.Linear(40, 24, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(nn.functional.gelu(self.up(x)))


def adapted(dtype: torch.dtype = torch.bfloat16, *, bias: bool = False, **options: Any) -> Any:
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["up", "down"], init_lora_weights=False, **options)
    return get_peft_model(Block(bias=bias).to(dtype), config)


def gradients(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    out = model(x)
    out.float().square().sum().backward()
    return out.detach().float(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_sums_and_gradients_are_those_of_peft_within_rounding() -> None:
    x = torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(1)).bfloat16()
    exact = gradients(adapted(torch.float32).to(torch.float32), x.float())
    theirs = gradients(adapted(), x)
    model = adapted()
    assert quicken(model) == 2
    ours = gradients(model, x)
    assert ours[1].keys() == theirs[1].keys() == exact[1].keys()
    assert all(grad.dtype == torch.float32 for grad in ours[1].values())

    def error(found: torch.Tensor, right: torch.Tensor) -> float:
        return float((found - right).norm() / right.norm())

    assert error(ours[0], exact[0]) < 0.01
    for name, right in exact[1].items():
        assert error(ours[1][name], right) < max(0.02, 2 * error(theirs[1][name], right)), name


def test_the_first_layer_passes_its_gradient_on_where_the_input_asks_for_one() -> None:
    x = torch.randn(2, 3, 24, generator=torch.Generator().manual_seed(1)).bfloat16()
    plain, quick = adapted(), adapted()
    quicken(quick)
    found = []
    for model in (plain, quick):
        leaf = x.clone().requires_grad_()
        model(leaf).float().sum().backward()
        assert leaf.grad is not None
        found.append(leaf.grad.float())
    assert torch.allclose(*found, atol=0.1, rtol=0.05)


@pytest.mark.parametrize(
    "model",
    [
        adapted(torch.float32),
        adapted(use_dora=True),
        adapted(lora_dropout=0.1),
        adapted(bias=True),
        adapted(lora_bias=True, bias=True),
    ],
    ids=["float32", "DoRA", "dropout", "bias", "bias of the adapter"],
)
def test_other_layers_stay_those_of_peft(model: Any) -> None:
    assert quicken(model) == 0


def test_an_adapter_that_is_switched_off_or_merged_goes_the_way_of_peft() -> None:
    x = torch.randn(2, 3, 24, generator=torch.Generator().manual_seed(1)).bfloat16()
    plain, quick = adapted(), adapted()
    assert quicken(quick) == 2
    with plain.disable_adapter(), quick.disable_adapter():
        assert torch.equal(plain(x), quick(x))
    plain.merge_adapter()
    quick.merge_adapter()
    assert torch.equal(plain(x), quick(x))


def test_the_weights_that_are_saved_have_the_names_of_peft() -> None:
    plain, quick = adapted(), adapted()
    quicken(quick)
    assert plain.state_dict().keys() == quick.state_dict().keys()
