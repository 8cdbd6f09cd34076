"""trl's trainer on a CPU: its loss, and nothing that only costs time."""

from __future__ import annotations

from typing import Any

from compass.training.head import IGNORED, MOST_LOGITS, head_nll, response_states


def cpu_trainer() -> type[Any]:
    """Return an SFTTrainer whose loss holds the logits of the response tokens in memory.

    trl's fused head computes them in tiles of the vocabulary, twice, to save memory. On a CPU, with short responses,
    memory is not short and time is: with Gemma 3's vocabulary of 262,144 the plain head makes a step about 1.6 times
    as fast (LOG.md). Batches of long responses go to the fused head.
    """
    from trl import SFTTrainer

    class ResponseLogitsTrainer(SFTTrainer):  # type: ignore[misc]
        def floating_point_ops(self, inputs: Any) -> int:
            """Count nothing: nobody reads it, and it walks through all modules at each step."""
            return 0

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            labels = inputs["labels"]
            if return_outputs or (labels != IGNORED).sum() > MOST_LOGITS:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            rest = {name: value for name, value in inputs.items() if name != "labels"}
            hidden, targets = response_states(model, rest, labels)
            head = self.accelerator.unwrap_model(model).get_output_embeddings()
            count = len(targets) if num_items_in_batch is None else num_items_in_batch
            loss = head_nll(head, hidden, targets) / count
            if self.args.average_tokens_across_devices and num_items_in_batch is not None:
                loss = loss * self.accelerator.num_processes
            return loss

    return ResponseLogitsTrainer
