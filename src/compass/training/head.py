"""The logits of the response tokens alone: with a large vocabulary they cost more than the rest of a small model."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

IGNORED = -100
"""Label of tokens without a loss."""
MOST_LOGITS = 1024
"""Response tokens whose logits are held at once: 1 GiB in float32 with a vocabulary of 262,144."""
ROWS_IN_CACHE = 8
"""Rows of logits that are worked on at once."""


def has_plain_head(model: Any) -> bool:
    """Say whether the logits are the output embedding's product with the last hidden state and nothing more."""
    config = model.config.get_text_config()
    scales = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
    return config.model_type != "minicpm3" and not any(getattr(config, name, None) for name in scales)


def response_states(model: Any, inputs: dict[str, Any], labels: Any) -> tuple[Any, Any]:
    """Run the backbone and return (hidden states, labels) of the positions whose next token has a label.

    labels: (n, length), IGNORED where there is no loss. Returns (m, d) and (m,).
    """
    import torch

    # No logits: those of a row's last token alone are a product with the whole vocabulary, which nobody would read.
    # The last hidden state is already normalised.
    none = torch.empty(0, dtype=torch.long, device=labels.device)
    outputs = model(**inputs, use_cache=False, output_hidden_states=True, logits_to_keep=none)
    shifted = labels[:, 1:]
    has_loss = shifted != IGNORED
    return outputs.hidden_states[-1][:, :-1][has_loss], shifted[has_loss]


def response_nll(model: Any, inputs: dict[str, Any], labels: Any) -> Any:
    """Return the negative log-likelihood of the labelled tokens of a batch in nats, summed: a scalar with a graph."""
    import torch

    if has_plain_head(model):
        return head_nll(model.get_output_embeddings(), *response_states(model, inputs, labels))
    has_loss = labels[:, 1:] != IGNORED
    logits, targets = model(**inputs, use_cache=False).logits[:, :-1][has_loss], labels[:, 1:][has_loss]
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")


def head_nll(head: Any, hidden: Any, targets: Any) -> Any:
    """Return the negative log-likelihood of the targets under the head's logits in nats, summed.

    hidden: (m, d); targets: (m,). A frozen head on a CPU goes through `frozen_head_nll`, which is twice as fast.
    """
    import torch

    plain = type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad
    if plain and hidden.device.type == "cpu":
        return frozen_head_nll()(hidden, head.weight, targets)
    return torch.nn.functional.cross_entropy(head(hidden).float(), targets, reduction="sum")


@functools.cache
def frozen_head_nll() -> Callable[[Any, Any, Any], Any]:
    """Return (hidden, weight, targets) -> summed negative log-likelihood, whose gradient is found with the loss.

    The logits become their own gradient, some rows at a time, while these are in the processor's cache: no second
    copy of them is written or kept for the way back.
    """
    import torch

    class FrozenHeadNLL(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, hidden: Any, weight: Any, targets: Any) -> Any:
            logits = hidden @ weight.t()
            total = torch.zeros((), dtype=torch.float32)
            for start in range(0, len(targets), ROWS_IN_CACHE):
                block, of_target = logits[start : start + ROWS_IN_CACHE], targets[start : start + ROWS_IN_CACHE, None]
                values = block.float()
                normaliser = values.logsumexp(dim=1, keepdim=True)
                total += (normaliser - values.gather(1, of_target)).sum()
                if ctx.needs_input_grad[0]:
                    probabilities = values.sub_(normaliser).exp_()
                    block.copy_(probabilities.scatter_add_(1, of_target, probabilities.new_full(of_target.shape, -1)))
            if ctx.needs_input_grad[0]:
                ctx.save_for_backward(logits @ weight)
            return total

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> tuple[Any, None, None]:
            (gradient,) = ctx.saved_tensors
            return (gradient * grads[0]).to(gradient.dtype), None, None

    apply: Callable[[Any, Any, Any], Any] = FrozenHeadNLL.apply
    return apply
