"""The status page of a registry, with versions, decisions and events that really happened."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from compass.config import GateConfig
from compass.drift import Skipped
from compass.registry import HeldOut, Registry, RegistryEvent, decide
from compass.report import build_status
from run_folders import write_run, write_space

HOSTILE = "</script><b>x</b><img src=x onerror=alert(1)> {{ 7*7 }} \u2028"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Two versions; the second was refused, and the reasons are kept."""
    registry, space = Registry(tmp_path / "shelf"), write_space(tmp_path / "space")
    first = registry.register(write_run(tmp_path / "a", space, seed=0, exact=0.25), trigger="adapt")
    registry.promote("cy", reason="the first")
    second = registry.register(write_run(tmp_path / "b", space, seed=1, exact=0.5), parent="1", trigger="drift")
    zeros, ones = np.zeros(40), np.ones(40)
    sets = [HeldOut("new", "new-usage", zeros, ones), HeldOut(HOSTILE, "old-usage", ones, zeros)]
    decision = decide(sets, GateConfig(), seed=0, candidate=second.id, baseline=first.id)
    registry.record(RegistryEvent("drift", "cy", f"Usage drifted: {HOSTILE}"))
    registry.record(RegistryEvent("refusal", "cy", decision.reason, second.id, {"decision": decision.to_dict()}))
    return registry


class Page(HTMLParser):
    """Tags with attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.text += " ".join(data.split()) + "\n"


def test_what_the_page_says(registry: Registry, tmp_path: Path) -> None:
    """A person would not see what is in production, what waits, or why the gate refused it."""
    path = build_status(registry, tmp_path / "out" / "status.html")
    text = Page(path.read_text("utf-8")).text
    first, second = (version.id for version in registry.versions("cy"))
    assert f"{first} is in production, all files intact. {second} waits to be promoted." in text
    assert "Welsh (cy)" in text
    assert "Registry\nshelf" in text
    for expected in (
        "The gate's last decision: refuse",
        "passed\n",
        "failed\n",
        "−1.000",
        "\n< .001\n",
        "No test set has the role",
    ):
        assert expected in text
    assert "cy exact match 0.500" in text
    assert "the first" in text
    assert [entry.name for entry in path.parent.iterdir()] == ["status.html"]


def test_the_page_is_closed_and_small(registry: Registry, tmp_path: Path) -> None:
    """A text would run as code, the page would ask a server, or carry megabytes of a plotting library for no figure."""
    source = build_status(registry, tmp_path / "status.html").read_text("utf-8")
    page = Page(source)
    assert not [tag for tag, _ in page.tags if tag in ("b", "img")]
    assert "{{ 7*7 }}" in page.text
    assert not [
        value for _, attrs in page.tags for value in attrs.values() if value and re.match("(https?:)?//", value)
    ]
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert len(source) < 60_000


def test_damage_is_shown(registry: Registry, tmp_path: Path) -> None:
    """A damaged version in production would look like any other."""
    weights = registry.get("cy", "production").adapter / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"x" * weights.stat().st_size)
    text = Page(build_status(registry, tmp_path / "status.html").read_text("utf-8")).text
    assert "is in production, but damaged: roll back" in text
    assert f"{weights} has changed" in text
    unchecked = Page(build_status(registry, tmp_path / "status.html", verify=False).read_text("utf-8")).text
    assert "not checked" in unchecked
    (registry.root / "cy" / "state.json").write_text("{", "utf-8")
    text = Page(build_status(registry, tmp_path / "status.html").read_text("utf-8")).text
    assert f"`compass registry repair cy --registry-dir {registry.root}` rebuilds it" in text


def test_an_empty_registry_has_a_page(tmp_path: Path) -> None:
    text = build_status(Registry(tmp_path / "none"), tmp_path / "status.html").read_text("utf-8")
    assert "No version is registered yet" in text


def test_what_the_monitor_skipped_is_on_the_page(registry: Registry, tmp_path: Path) -> None:
    """Lines that could not be used would be known to the log alone."""
    skipped = {"cy": [Skipped("broken JSON", 1200, f"{HOSTILE}.jsonl, line 3", 1_800_000_000.0)]}
    page = Page(build_status(registry, tmp_path / "status.html", skipped=skipped).read_text("utf-8"))
    for expected in ("Skipped by the monitor", "broken JSON", "1,200", "2027-01-15 08:00 UTC", "line 3"):
        assert expected in page.text
    assert not [tag for tag, _ in page.tags if tag in ("b", "img")]
    assert "Skipped by" not in Page(build_status(registry, tmp_path / "status.html").read_text("utf-8")).text


@pytest.mark.parametrize("decision", [{}, {"verdict": "refuse", "tests": [1]}, {"verdict": 1, "tests": None}])
def test_a_damaged_decision_is_told(registry: Registry, tmp_path: Path, decision: dict[str, object]) -> None:
    registry.record(RegistryEvent("refusal", "cy", "no", "v", {"decision": decision}, at="2999-01-01T00:00:00+00:00"))
    text = Page(build_status(registry, tmp_path / "status.html").read_text("utf-8")).text
    assert "The gate's last decision is damaged" in text
