"""What trl, transformers and peft do beside training, and nobody asked for."""

from __future__ import annotations

from typing import Any

from transformers import PrinterCallback, ProgressCallback


def untold(trainer_class: type[Any]) -> type[Any]:
    """Return a trainer class that does not tell the model hub of each training, as trl's do."""

    class Untold(trainer_class):  # type: ignore[misc]
        def _send_telemetry(self) -> None:
            pass

    return Untold


def quieten(trainer: Any) -> None:
    """Keep a trainer from writing to stdout, which belongs to results, and cards into each checkpoint.

    Nobody reads trl's and peft's cards, and each is a template compiled anew.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.create_model_card = trainer.model.create_or_update_model_card = lambda *_, **__: None
