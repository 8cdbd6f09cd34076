"""The architecture page: its tree is that of src/compass, and the files and names in its sentences exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "compass"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
PROSE = re.sub(r"^```.*?^```", "", PAGE, flags=re.M | re.S)


def tree() -> dict[str, str]:
    """Return what the page says of each module and folder, by its path in src/compass."""
    block = re.search(r"^```text\ncompass/\n(.*?)^```", PAGE, re.M | re.S)
    assert block is not None, "docs/architecture.md has no tree that begins with compass/"
    found, folders = {}, list[str]()
    for line in block[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2 - 1
        name, _, text = line.strip().partition(" ")
        folders[depth:] = [name.rstrip("/")]
        found["/".join(folders)] = text.strip()
    return found


def modules() -> set[str]:
    files = {path for path in SOURCE.rglob("*.py") if path.name != "__init__.py"}
    folders = {folder for path in files for folder in path.parents if SOURCE in folder.parents}
    return {str(path.relative_to(SOURCE)) for path in files | folders}


def test_the_tree_is_complete() -> None:
    """A module that the tree lacks is one that a newcomer does not find."""
    missing, gone = sorted(modules() - set(tree())), sorted(set(tree()) - modules())
    advice = [f"add a line for {path}" for path in missing] + [f"remove the line of {path}" for path in gone]
    assert not advice, "docs/architecture.md: " + "; ".join(advice)


def test_every_line_says_something() -> None:
    assert [path for path, text in tree().items() if not text] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py|(?:[a-z_]+/)+)`", PROSE))))
def test_files_in_the_sentences_exist(path: str) -> None:
    assert (SOURCE / path).exists() or (ROOT / path).exists()


@pytest.mark.parametrize(
    ("name", "path"), sorted(set(re.findall(r"`(\w+)` of\s+`([a-z_/]+\.py)`", PROSE)))
)  # fmt: skip
def test_names_in_the_sentences_exist(name: str, path: str) -> None:
    """`STRATEGIES` of `selection/catalogue.py`: whoever looks there must find it."""
    assert re.search(rf"\b{name}\b", (SOURCE / path).read_text("utf-8"))
