"""A small draw of the embedded data set as files, and the options of a small run on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Files:
    """A small draw of `assist` as files, and the cache of this session."""

    folder: Path
    cache: Path

    def arguments(self, output: Path, *more: str) -> list[str]:
        """Return the options of a small run; `more` comes last and wins."""
        names = {"usage": "usage", "current": "current", "pool": "pool", "test": "test", "retention-tests": "english"}
        flags = [part for flag, name in names.items() for part in (f"--{flag}", str(self.folder / f"{name}.jsonl"))]
        sizes = ["--budget", "24", "--max-steps", "2", "--save-steps", "2", "--max-new-tokens", "4"]
        return ["--language", "cy", *flags, *sizes, "--output-dir", str(output), *more]
