"""LoRA layers on a CPU, in the type of the base model: peft's own spend half a small model's step on changing types.

peft computes an adapter in float32 beside a base model in bfloat16, and so copies each input and each sum. Here the
float32 weights are rounded for the product alone, as autocast does it, and the way back is one function a layer.
"""

from __future__ import annotations

import functools
from typing import Any


def quicken(model: Any) -> int:
    """Let the plain LoRA layers of a model in bfloat16 on a CPU take the quick way; return how many do.

    Layers with dropout, a bias, DoRA, quantised weights or weights that are trained stay peft's.
    """
    quick = quick_linear()
    layers = [module for module in model.modules() if is_plain(module)]
    for layer in layers:
        layer.__class__ = quick
    return len(layers)


def is_plain(module: Any) -> bool:
    """Say whether a module is a LoRA layer that does nothing but add its product to a frozen bfloat16 layer's."""
    import torch
    from peft.tuners import lora

    if type(module) is not lora.Linear or type(module.base_layer) is not torch.nn.Linear:
        return False
    weight = module.base_layer.weight
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.bfloat16
        and not weight.requires_grad
        and module.base_layer.bias is None
        and len(module.active_adapters) == 1
        and not module.lora_variant
        and not module.merged
        and not any(module.lora_bias.values())
        and all(isinstance(dropout, torch.nn.Identity) for dropout in module.lora_dropout.values())
    )


@functools.cache
def quick_linear() -> Any:
    """Return the class of the layers: peft's, with another way through it."""
    import torch
    from peft.tuners import lora

    class Product(torch.autograd.Function):  # type: ignore[misc]
        """x Wᵀ + s (x Aᵀ) Bᵀ, W frozen."""

        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, down: Any, up: Any, scale: float) -> Any:
            rows, down, up = x.reshape(-1, x.shape[-1]), down.to(x.dtype), up.to(x.dtype)
            low = rows @ down.t()
            ctx.save_for_backward(rows, weight, down, up, low)
            ctx.scale = scale
            return (rows @ weight.t()).addmm_(low, up.t(), alpha=scale).view(*x.shape[:-1], -1)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> tuple[Any, None, Any, Any, None]:
            rows, weight, down, up, low = ctx.saved_tensors
            grad = grads[0].reshape(-1, grads[0].shape[-1])
            low_grad = grad @ up
            of_x = None
            if ctx.needs_input_grad[0]:
                of_x = (grad @ weight).addmm_(low_grad, down, alpha=ctx.scale).view(*grads[0].shape[:-1], -1)
            of_down, of_up = low_grad.t() @ rows, grad.t() @ low
            return of_x, None, of_down.float().mul_(ctx.scale), of_up.float().mul_(ctx.scale), None

    class QuickLinear(lora.Linear):  # type: ignore[misc]
        def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
            if args or kwargs or self.disable_adapters or self.merged or x.dtype != self.base_layer.weight.dtype:
                return super().forward(x, *args, **kwargs)
            (name,) = self.active_adapters
            down, up = self.lora_A[name].weight, self.lora_B[name].weight
            return Product.apply(x, self.base_layer.weight, down, up, self.scaling[name])

    return QuickLinear
