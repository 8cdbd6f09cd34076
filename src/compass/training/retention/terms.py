"""Further terms of a training loss, for any trainer of transformers or trl: `L = L_task + Σ weight · term`.

A callback can't change a loss, so this is a subclass. It keeps to what the trainer does with its own loss: under
gradient accumulation each micro-batch adds its part of a term, and nothing is added in evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol


class Term(Protocol):
    """One further term of the loss."""

    name: str
    """Name in the log, where the term's value stands before its weight."""
    weight: float

    def check(self, model: Any) -> None:
        """Raise ModelError if the term can't be computed for this model."""
        ...

    def __call__(self, model: Any, micro_batch: int, loss_of: Callable[[dict[str, Any]], Any]) -> Any:
        """Return the term's scalar value, with a graph.

        micro_batch: number of the micro-batch since the training's start, over all processes; after a resume it goes
        on, so that a term that draws rows by it draws the same ones. loss_of: the trainer's own loss on a batch, as a
        mean over its labelled tokens.
        """
        ...


class AddedTerms:
    """A mixin that adds terms to a trainer's loss and logs them beside `task_loss`."""

    def __init__(self, *args: Any, terms: Sequence[Term] = (), **kwargs: Any) -> None:
        """Take the trainer's own arguments and the terms. Raises ModelError if a term does not fit the model."""
        self._terms = tuple(terms)
        self._values: dict[str, list[Any]] = {term.name: [] for term in self._terms}
        self._at = (-1, 0)
        super().__init__(*args, **kwargs)
        for term in self._terms:
            term.check(self._bare_model())

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the trainer's loss with the weighted terms added, in training; outside of it the loss alone."""
        trainer: Any = super()
        result = trainer.compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if not model.training or not self._terms:
            return result
        loss = result[0] if return_outputs else result
        number = self._micro_batch()
        extra = sum(
            term.weight * self._noted(term, term(self._bare_model(), number, lambda b: trainer.compute_loss(model, b)))
            for term in self._terms
        )
        loss = loss + (extra / self._parts(num_items_in_batch)).to(loss.device)
        return (loss, result[1]) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log each term's mean since the last entry, and what the loss is without them."""
        if "loss" in logs and all(self._values.values()) and self._terms:
            means = {name: sum(float(v) for v in values) / len(values) for name, values in self._values.items()}
            logs["task_loss"] = logs["loss"] - sum(term.weight * means[term.name] for term in self._terms)
            logs.update(means)
            for values in self._values.values():
                values.clear()
        trainer: Any = super()
        trainer.log(logs, *args, **kwargs)

    def _noted(self, term: Term, value: Any) -> Any:
        self._values[term.name].append(value.detach())
        return value

    def _micro_batch(self) -> int:
        this: Any = self
        step, done = int(this.state.global_step), 0
        if self._at[0] == step:
            done = self._at[1]
        self._at = (step, done + 1)
        number = step * int(this.args.gradient_accumulation_steps) + done
        return number * int(this.accelerator.num_processes) + int(this.accelerator.process_index)

    def _parts(self, num_items_in_batch: Any) -> int:
        """Return how many micro-batches share a step, or 1 where the trainer divides the loss by that itself."""
        this: Any = self
        scaled = this.loss_is_scaled_for_ga
        if scaled is None:
            scaled = (this.model_accepts_loss_kwargs and num_items_in_batch is not None) or bool(this.compute_loss_func)
        return int(this.current_gradient_accumulation_steps) if scaled else 1

    def _bare_model(self) -> Any:
        this: Any = self
        return this.accelerator.unwrap_model(this.model)


@cache
def with_terms(trainer_class: type[Any]) -> type[Any]:
    """Return a subclass of a trainer class that takes `terms=[...]` besides its own arguments."""
    return type(f"{trainer_class.__name__}WithTerms", (AddedTerms, trainer_class), {})
