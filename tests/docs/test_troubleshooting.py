"""Troubleshooting: each message that the page quotes is one that the code prints."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADINGS = re.findall(r"^### (.*)$", (ROOT / "docs" / "troubleshooting.md").read_text("utf-8"), re.M)
QUOTED = [message for heading in HEADINGS for message in re.findall("`([^`]+)`", heading)]


@pytest.fixture(scope="module")
def source() -> str:
    """Every text in the source, the fixed parts of f-strings included, one a line."""
    nodes = (
        node for path in (ROOT / "src").rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )  # fmt: skip
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize("message", QUOTED)
def test_message_is_in_the_source(message: str, source: str) -> None:
    """A message that nobody prints any more is found by nobody; `…` stands for what differs."""
    parts = [part.strip(" .,:") for part in message.split("…")]
    assert [part for part in parts if part not in source] == []


def test_every_heading_quotes_a_message() -> None:
    assert len(QUOTED) >= len(HEADINGS) > 20
