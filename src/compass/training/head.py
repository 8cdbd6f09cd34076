"""The logits of the response tokens alone: with a large vocabulary they cost more than the rest of a small model."""

from __future__ import annotations

from typing import Any

IGNORED = -100
"""Label of tokens without a loss."""
MOST_LOGITS = 1024
"""Response tokens whose logits are held at once: 1 GiB in float32 with a vocabulary of 262,144."""


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
        hidden, targets = response_states(model, inputs, labels)
        logits = model.get_output_embeddings()(hidden)
    else:
        has_loss = labels[:, 1:] != IGNORED
        logits, targets = model(**inputs, use_cache=False).logits[:, :-1][has_loss], labels[:, 1:][has_loss]
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
