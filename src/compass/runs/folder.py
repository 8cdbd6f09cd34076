"""A run folder as a sequence of stages, each skipped when it was finished with the same inputs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compass.errors import RunError
from compass.runs import layout
from compass.runs.files import append_line, files_at, fingerprint, read_json, write_json
from compass.runs.locks import held
from compass.runs.machine import peak_memory, reset_peak_memory

logger = logging.getLogger(__name__)


def is_version(folder: Path) -> bool:
    """Say whether a run folder is that of a version of the registry."""
    home = folder.resolve().parent
    return home.parent.name == "versions" and (home / "manifest.json").is_file()


def refuse_version(folder: Path, instead: str = "") -> None:
    """Raise RunError, with what to do instead, if a run folder is that of a version: one more file damages it."""
    if is_version(folder):
        instead = instead or "Name the run folder that it was registered from, or a copy of it."
        raise RunError(f"{folder} is a version of the registry, which is never written to. {instead}")


class Run:
    """A run folder: which stages are finished, with which inputs, at what cost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._records = folder / layout.STAGE_RECORDS

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process out of the folder. Raises RunError if one is at work in it, or it is a version."""
        refuse_version(self.folder)
        # The folder holds users' prompts: nobody else on the machine needs to read them.
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = f"Another process is at work in {self.folder}. Wait for it, stop it, or choose another --output-dir."
        with held(self.folder / layout.RUN_LOCK, RunError(taken)):
            self._records.mkdir(parents=True, exist_ok=True)
            yield

    def path(self, *parts: str) -> Path:
        """Return a path inside the folder, with its parent made."""
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def finished(self, name: str, inputs: Mapping[str, Any]) -> bool:
        """Say whether a stage was finished with these inputs and its outputs are still there, unchanged in size."""
        return self.changed(name, inputs) == set()

    def changed(self, name: str, inputs: Mapping[str, Any]) -> set[str] | None:
        """Return the inputs that differ from those a stage was finished with, None if its outputs can't be trusted.

        None: it was never finished, a file of it is gone or cut, its record can't be read, or an older version recorded
        its inputs as a whole.
        """
        record = self._records / f"{name}.json"
        if not record.is_file():
            return None
        try:
            stored = read_json(record)
            sizes, before = dict(stored["outputs"]), stored["inputs"]
            if not isinstance(before, str | dict):
                raise TypeError
        except (RunError, TypeError, KeyError, ValueError):
            logger.warning("%s can't be read: the stage counts as not finished", record)
            return None
        for path, size in sizes.items():
            if not (self.folder / path).is_file() or (self.folder / path).stat().st_size != size:
                return None
        if isinstance(before, str):
            return set() if before == fingerprint(inputs) else None
        now = _each(inputs)
        return {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}

    @contextmanager
    def stage(self, name: str, inputs: Mapping[str, Any], outputs: Iterable[Path]) -> Iterator[None]:
        """Do the work of a stage in the block; its record is written only when the block ends without an error.

        outputs: files or folders that the block writes.
        """
        logger.info("%s: started", name)
        record = self._records / f"{name}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.unlink(missing_ok=True)
        reset_peak_memory()
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        files = [file for path in outputs for file in files_at(path)]
        peak = peak_memory()
        content = {
            "stage": name,
            "inputs": _each(inputs),
            "outputs": {str(file.relative_to(self.folder)): file.stat().st_size for file in files},
            "seconds": round(seconds, 2),
            "peak_memory_bytes": peak,
        }
        write_json(record, content)
        self._log(name, seconds, peak, skipped=False)
        logger.info("%s: finished in %.1f s", name, seconds)

    def rewritten(self, name: str, file: Path) -> None:
        """Note the new size of a stage's output that a later step has added to."""
        record = self._records / f"{name}.json"
        content = read_json(record, dict)
        content["outputs"][str(file.relative_to(self.folder))] = file.stat().st_size
        write_json(record, content)

    def forget(self, name: str) -> None:
        """Drop the record of a stage whose outputs were removed because nothing asks for them any more."""
        (self._records / f"{name}.json").unlink(missing_ok=True)

    def skip(self, name: str) -> None:
        """Note that a stage is skipped because it was finished before."""
        logger.info("%s: already finished with these inputs, skipped", name)
        self._log(name, 0.0, 0, skipped=True)

    def _log(self, name: str, seconds: float, peak: int, *, skipped: bool) -> None:
        entry = {"stage": name, "seconds": round(seconds, 2), "peak_memory_bytes": peak, "skipped": skipped}
        append_line(self.path(layout.STAGE_LOG), entry)


def _each(inputs: Mapping[str, Any]) -> dict[str, str]:
    return {key: fingerprint({key: value}) for key, value in inputs.items()}
