"""The model card: what others wrote is shown, and is no HTML, link, column or option of the card."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from compass.config import AdaptConfig
from compass.data.example import Example
from compass.records import Difference, Interval
from compass.runs.files import write_json, write_jsonl, write_parquet
from compass.steps.card import model_card

NASTY = "<img src=x onerror=alert(1)> | [a](javascript:x) `b` \\ \x1b[2J\nlicense: mit"


@pytest.fixture
def card(tmp_path: Path) -> str:
    for name in ("selection", "data", "adapter"):
        (tmp_path / name).mkdir()
    write_jsonl(tmp_path / "selection" / "selected.jsonl", [])
    write_jsonl(tmp_path / "data" / "current.jsonl", [])
    write_json(tmp_path / "adapter" / "adapter_config.json", {"r": 8, "peft_type": "LORA"})
    cluster = {"cluster": 0, "name": NASTY, "gap": 0.5, "usage_share": 0.5, "current_share": 0.0, "picked": 1}
    write_parquet(tmp_path / "selection" / "clusters.parquet", [{**cluster, "unmet": 0.0}])
    base: Any = SimpleNamespace(name=NASTY, revision=NASTY, licence=NASTY)
    row = Example("1", "x", source=NASTY)
    data: Any = SimpleNamespace(train=[row], pool=[row], usage=[row])
    selection: Any = SimpleNamespace(indices=[0], strategy=NASTY)
    difference = Difference(NASTY, "exact_match", 0.0, 0.0, Interval(0.0, 0.0, 0.0))
    return model_card(AdaptConfig(), base, data, selection, [difference], tmp_path)


def test_text_of_others_is_only_shown(card: str) -> None:
    """A source's name in a published card could run a script on the page that shows it."""
    _, metadata, body = card.split("---\n", 2)
    assert "<img" not in body
    assert "\x1b" not in card
    links = re.findall(r"(?<!\\)\]\(([^)]*)", body)
    assert links == ["https://arxiv.org/abs/2604.20720"]
    table = [line for line in body.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in table} == {6, 7}
    assert "license: mit" not in body.splitlines()
    read = yaml.safe_load(metadata)
    assert (read["base_model"], read["license"], read["license_name"]) == (NASTY, "other", NASTY)
