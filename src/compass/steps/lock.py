"""What makes a run repeatable: versions, revisions, hashes and seeds, in `lock.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compass.config import AUTO
from compass.found_budget import FoundBudget
from compass.runs import layout
from compass.runs.files import file_hash, fingerprint, read_json, write_json
from compass.runs.finished import served_files
from compass.runs.folder import Run
from compass.runs.machine import versions
from compass.steps.prefilter import stored_prefilter
from compass.steps.resources import Resources, licences_of


def write_lock(run: Run, resources: Resources, *, trained: bool) -> None:
    """Write the lock of a run. trained: it has an adapter of its own picks; else it is one of `compass select`."""
    config = resources.config
    files = sorted((run.folder / layout.DATA).rglob("*.jsonl"))
    files += [run.folder / name for name in (layout.CONFIG, layout.SPACE_SETTINGS, layout.SPACE_WEIGHTS, layout.PICKS)]
    if trained and (run.folder / layout.ADAPTER_WEIGHTS).is_file():
        files += [run.folder / name for name in served_files(run.folder) if name.startswith(f"{layout.ADAPTER}/")]
    content: dict[str, Any] = {
        "versions": versions(),
        "seed": config.run.seed,
        "config": fingerprint(asdict(config)),
        "encoder": {"name": resources.encoder.name, "revision": resources.encoder.revision},
        "hashes": {path.relative_to(run.folder).as_posix(): file_hash(path) for path in files},
        "command": f"compass {'adapt' if trained else 'select'} --config {layout.CONFIG}",
        "licences": licences_of(config),
    }
    if prefilter := stored_prefilter(run):
        content["prefilter"] = {name: prefilter[name] for name in ("rows", "passed_over")}
    if config.selection.budget == AUTO:
        found = read_json(run.folder / layout.HOW_MANY, dict)
        content["budget"] = {name: found[name] for name in ("budget", "unit", "rows", "largest")} | {
            "why": FoundBudget.from_dict(found).summary()
        }
    if trained:
        from compass.training import resolved_dtype

        base = resources.base
        content["model"] = {
            "name": base.name, "revision": base.revision, "licence": base.licence,
            # `auto` is another type on another machine.
            "dtype": resolved_dtype(config.training.dtype),
        }  # fmt: skip
    write_json(run.path(layout.LOCK), content)


def measured_dtype(lock: Mapping[str, Any], named: str) -> str:
    """Return the numbers that a run was measured in. named: as in the options; `auto` takes what the lock says, and
    where it says nothing, what that is on this machine."""
    from compass.training import resolved_dtype

    model = lock.get("model")
    measured = model.get("dtype") if isinstance(model, dict) else None
    return str(measured) if named == "auto" and measured in ("float32", "bfloat16") else resolved_dtype(named)


def dtype_of(folder: Path, named: str = "auto") -> str:
    """Return the numbers that a run folder was measured in; see `measured_dtype`. Raises RunError for a broken lock."""
    file = folder / layout.LOCK
    return measured_dtype(read_json(file, dict) if file.is_file() else {}, named)


def is_trained_on_its_picks(folder: Path) -> bool:
    """Say whether a folder's adapter is of the folder's picks, by its lock."""
    file = folder / layout.LOCK
    hashes = read_json(file, dict).get("hashes") if file.is_file() else None
    if not isinstance(hashes, dict):
        return False
    return layout.ADAPTER_WEIGHTS in hashes and hashes.get(layout.PICKS) == file_hash(folder / layout.PICKS)
