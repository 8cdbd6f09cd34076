"""Is a run folder finished, and are the files that decide what is served the ones that the run wrote?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compass.errors import RunError
from compass.runs import layout
from compass.runs.files import file_hash, read_json

SERVED = (
    layout.CONFIG, layout.ADAPTER_CONFIG, layout.ADAPTER_WEIGHTS, layout.SPACE_SETTINGS, layout.SPACE_WEIGHTS
)  # fmt: skip
"""Files that decide what is served and watched; a lock names the hash of each. Tokenizer and template files that lie in
`adapter/` belong to them."""
NOT_IN_0_1 = (layout.CONFIG, layout.ADAPTER_CONFIG, layout.SPACE_SETTINGS)
"""Of these the locks of version 0.1 have no hash."""
LAST_OPTION = ("evaluation", "confidence")
"""What a whole options file of version 0.1, whose lock has no hash of it, ends with."""
AGAIN = "Run the command that made it again: it goes on where it stopped."


def check_finished(folder: Path, *, more: Sequence[str] = ()) -> dict[str, Any]:
    """Return the lock of a finished run folder.

    more: further files that the caller needs. Raises RunError that names what is missing, cut, or not what the run
    wrote.
    """
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise RunError(f"{folder} {what}. Give the output_dir of a finished compass adapt or update.")
    missing = [name for name in dict.fromkeys((layout.LOCK, *SERVED, *more)) if not (folder / name).is_file()]
    if missing:
        raise RunError(
            f"{folder} is not a finished run: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing. "
            f"Give the output_dir of compass adapt or update. {AGAIN}"
        )
    lock = read_lock(folder)
    _check_options(folder, lock)
    check_hashes(folder, lock, served_files(folder))
    return lock


def read_lock(folder: Path) -> dict[str, Any]:
    """Return the lock of a run that has an adapter of its own picks. Raises RunError if it is damaged or of none."""
    file = folder / layout.LOCK
    lock: dict[str, Any] = read_json(file, dict)
    hashes = lock.get("hashes")
    if not isinstance(hashes, dict) or not hashes or not all(isinstance(sha, str) for sha in hashes.values()):
        raise RunError(f"{file} is damaged: it names no hashes of the run's files. {AGAIN}")
    if layout.ADAPTER_WEIGHTS not in hashes:
        raise RunError(
            f"{folder} is not a finished run: its lock.json names no adapter. It was not finished, or compass select "
            "picked new rows after its training. Run compass adapt in it."
        )
    # Version 0.1 wrote the hashes of weights and data alone.
    if any(name in hashes for name in NOT_IN_0_1) and (left := [name for name in SERVED if name not in hashes]):
        raise RunError(f"{file} is damaged: it names no hash of {', '.join(left)}. {AGAIN}")
    return lock


def check_hashes(folder: Path, lock: Mapping[str, Any], names: Iterable[str]) -> None:
    """Compare files with the hashes that the run's lock has of them. Raises RunError for one that differs or has none.

    The locks of version 0.1 have no hash but those of weights.
    """
    hashes = lock["hashes"]
    for name in names:
        if name not in hashes and layout.CONFIG in hashes:
            raise RunError(
                f"{name} is not of the run in {folder}: its lock.json has no hash of it. Remove the file, or run the "
                "command that made the run again."
            )
        if (sha := hashes.get(name)) and file_hash(folder / name) != sha:
            raise other_file(folder, name)


def other_file(folder: Path, name: str) -> RunError:
    """Return what to raise for a file that is not the one in the lock."""
    return RunError(
        f"{name} is not what the run in {folder} wrote: its lock.json has another SHA-256. Run the command that made "
        "it again, or use a run folder that nobody has edited."
    )


def served_files(folder: Path) -> list[str]:
    """Return the files of a run that decide what is served, as paths in the folder, sorted."""
    own = {path.relative_to(folder).as_posix() for path in (folder / layout.ADAPTER).rglob("*") if path.is_file()}
    # The model card is written once more after the measurements.
    return sorted({name for name in own if not name.endswith(".md")} | {*SERVED})


def check_stages(folder: Path, *, besides: tuple[str, ...] = ()) -> None:
    """See that what each stage wrote is there, in its size. besides: beginnings of paths that don't matter.

    Raises RunError naming the stage and the file.
    """
    for record in sorted((folder / layout.STAGE_RECORDS).glob("*.json")):
        outputs = read_json(record, dict).get("outputs")
        if not isinstance(outputs, dict):
            raise RunError(f"{record} is damaged: it names no outputs. {AGAIN}")
        for name, size in outputs.items():
            # The model card is written once more after the measurements.
            if name.endswith(".md") or name.startswith(besides):
                continue
            file = folder / name
            if not file.is_file() or file.stat().st_size != size:
                raise RunError(
                    f"{folder} is not a finished run: the stage {record.stem!r} wrote {name}, which is missing or has "
                    f"another size now. {AGAIN}"
                )


def _check_options(folder: Path, lock: Mapping[str, Any]) -> None:
    """Raise RunError for an options file that is cut, where the lock has no hash of it."""
    import yaml

    file = folder / layout.CONFIG
    if layout.CONFIG in lock["hashes"]:
        return
    try:
        text = file.read_text("utf-8")
        section = yaml.safe_load(text).get(LAST_OPTION[0])
        whole = text.endswith("\n") and LAST_OPTION[1] in section
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, yaml.YAMLError):
        whole = False
    if not whole:
        raise RunError(f"{file} is damaged: options are missing at its end. {AGAIN}")
