"""The pages, asked as a browser asks."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.testclient import TestClient

from compass.dashboard.app import Dashboard, mount
from compass.dashboard.places import Places
from compass.registry import Registry
from compass.serve.keys import read_keys

KEYS = {"COMPASS_SERVE_KEYS": "anna=" + "0" * 64 + ":act"}


def test_an_empty_registry_has_a_page(tmp_path: Path) -> None:
    """Would break if a page needs a language, a monitor or traffic."""
    (tmp_path / "registry").mkdir()
    places = Places(Registry(tmp_path / "registry"), tmp_path / "watch", tmp_path / "serve")
    dashboard, app = Dashboard(places, read_keys("", KEYS)), Starlette()
    mount(app, dashboard)
    answer = TestClient(app).get("/dashboard")
    assert answer.status_code == 200
    assert "Log in" in answer.text
