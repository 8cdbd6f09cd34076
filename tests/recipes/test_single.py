"""Evaluation of given files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compass.config import AdaptConfig
from compass.errors import DataError
from compass.recipes.single import evaluate_on


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """The first one's results would be lost under the second's name; nothing is loaded before."""
    sources = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "test.jsonl"
        path.write_text(json.dumps({"prompt": "helo", "response": "x", "language": "cy"}) + "\n")
        sources.append(str(path))
    with pytest.raises(DataError, match=r"Two test sets are named 'test'. Rename the file .*b/test.jsonl"):
        evaluate_on(AdaptConfig(), sources)
