"""What trl, transformers and peft do beside training, and nobody asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_old_names() -> Iterator[None]:
    """Leave out a warning of transformers that peft causes: it asks each model for an attribute by its former name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


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
    from transformers import PrinterCallback, ProgressCallback

    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.create_model_card = trainer.model.create_or_update_model_card = lambda *_, **__: None
