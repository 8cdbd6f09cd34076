"""An encoder on the workers of a cluster: each loads it once and embeds one chunk of texts after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from compass.encoders.protocol import Encoder, FloatArray

Identity = tuple[str, str, str]


def identity_of(encoder: Encoder) -> Identity:
    """Return name, revision and engine: encoders that agree in them give the same vectors."""
    return encoder.name, encoder.revision, str(getattr(encoder, "engine", ""))


class EncodeElsewhere:
    """Turns texts into rows; what is sent to a worker is how to open the encoder, or the encoder itself."""

    holds_model = True

    def __init__(self, source: Encoder | Callable[[], Encoder]) -> None:
        self._source = source

    @cached_property
    def _encoder(self) -> Encoder:
        return self._source() if callable(self._source) else self._source

    def __call__(self, texts: Sequence[str]) -> tuple[Identity, FloatArray]:
        """Return what encoder embedded the texts, and (n, d) rows."""
        rows = self._encoder.encode(texts) if texts else np.empty((0, 0), dtype=np.float32)
        return identity_of(self._encoder), rows
