"""Models by place: one folder has many names, and the same files are the same model wherever they lie."""

from __future__ import annotations

from pathlib import Path

CONTENT_HASH = "sha256:"
"""Begins the revision of a model folder, which is a hash of its files."""


def local_path(name: str) -> Path:
    """Return the place that a name stands for: `~`, relative paths and links resolved."""
    try:
        return Path(name).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # A user that there is none of, links in a circle, a NUL.
        return Path(name)


def canonical(name: str) -> str:
    """Return one spelling for all names of a folder; anything else, a hub name for one, stays as it is."""
    folder = local_path(name)
    return str(folder) if name and folder.is_dir() else name


def same_place(a: tuple[str, str], b: tuple[str, str]) -> bool:
    """Say whether two pairs of a name and a revision are of one model; what follows a `#` in a name are its options."""
    (name_a, revision_a), (name_b, revision_b) = a, b
    if revision_a != revision_b:
        return False
    (place_a, _, options_a), (place_b, _, options_b) = name_a.partition("#"), name_b.partition("#")
    here = canonical(place_a) == canonical(place_b) or is_content_hash(revision_a)
    return options_a == options_b and here


def looks_local(name: str) -> bool:
    """Say whether a name can only be a path: the hub has `NAME` and `OWNER/NAME`."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or local_path(name).exists()


def is_content_hash(revision: str) -> bool:
    """Say whether a revision is a hash of files, which tells a model whatever its name is."""
    return revision.startswith(CONTENT_HASH)
