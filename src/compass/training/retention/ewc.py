"""Elastic weight consolidation of an adapter: `λ · L_EWC`, `L_EWC = 1/2 · Σ_i F_i (θ_i − θ*_i)²` (Kirkpatrick 2017).

Usable in any SFTTrainer run:

    trainer = with_ewc(SFTTrainer)(model=model, fisher="old/fisher.safetensors", ewc_lambda=2.0, train_dataset=rows)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compass.training.retention.fisher import Fisher, adapter_weights
from compass.training.retention.terms import AddedTerms

if TYPE_CHECKING:
    EWCSFTTrainer: type[Any]

logger = logging.getLogger(__name__)

EWC_LAMBDA = 2.0
"""λ of the paper, by a secondary source."""


class EWC:
    """The penalty as a term of the loss."""

    name = "ewc_loss"

    def __init__(self, fisher: Fisher, weight: float = EWC_LAMBDA) -> None:
        self.weight = weight
        self._fisher = fisher
        self._placed: list[tuple[Any, Any, Any]] = []

    def check(self, model: Any) -> None:
        """Raise ModelError if names or shapes differ; warn if the training does not start at θ*."""
        weights = adapter_weights(model)
        self._fisher.check_fits(weights)
        apart = [name for name, value in self._fisher.weights.items() if not _equal(weights[name], value)]
        if apart:
            logger.warning(
                "EWC: %d of %d adapter weights do not start where the Fisher information was measured, so the penalty "
                "starts above zero. Start from that adapter, or check that this is what you want.",
                len(apart), len(weights),
            )  # fmt: skip

    def __call__(self, model: Any, micro_batch: int, loss_of: Callable[[dict[str, Any]], Any]) -> Any:
        """Return L_EWC in float32, whatever the precision of the weights."""
        if not self._placed:
            self._placed = [
                (weight, self._fisher.diagonal[name].to(weight.device), self._fisher.weights[name].to(weight.device))
                for name, weight in adapter_weights(model).items()
            ]
        return ewc_loss(self._placed)


def ewc_loss(weights: list[tuple[Any, Any, Any]]) -> Any:
    """Return 1/2 · Σ F (θ − θ*)² over (θ, F, θ*) of one shape each, as a float32 scalar with a graph."""
    import torch

    return 0.5 * torch.stack([(f * (weight.float() - start).square()).sum() for weight, f, start in weights]).sum()


class EWCMixin(AddedTerms):
    """A mixin for trainers whose loss gets the penalty."""

    def __init__(self, *args: Any, fisher: Fisher | str | Path, ewc_lambda: float = EWC_LAMBDA, **kwargs: Any) -> None:
        """Take the trainer's own arguments, the Fisher information or its file, and λ."""
        loaded = fisher if isinstance(fisher, Fisher) else Fisher.load(Path(fisher))
        terms = (EWC(loaded, ewc_lambda), *kwargs.pop("terms", ()))
        super().__init__(*args, terms=terms, **kwargs)


@cache
def with_ewc(trainer_class: type[Any]) -> type[Any]:
    """Return a subclass of a transformers or trl trainer that takes `fisher=` and `ewc_lambda=` as well."""
    return type(f"EWC{trainer_class.__name__}", (EWCMixin, trainer_class), {})


def _equal(weight: Any, start: Any) -> bool:
    import torch

    return bool(torch.equal(weight.detach().float().cpu(), start))


def __getattr__(name: str) -> Any:
    if name == "EWCSFTTrainer":
        from trl import SFTTrainer

        return with_ewc(SFTTrainer)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
