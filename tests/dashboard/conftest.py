"""One registry with monitors and traffic for all tests of the dashboard."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dashboard_client import Site
from dashboard_site import make_site


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders, never written to: tests that act get a copy."""
    return make_site(tmp_path_factory.mktemp("site"), hostile=True)


@pytest.fixture(scope="session")
def site(made: Path) -> Site:
    """For tests that only look."""
    return Site(made)


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Site:
    """For tests that act or damage."""
    for name in ("registry", "watch", "serve"):
        shutil.copytree(made / name, tmp_path / name)
    return Site(tmp_path)
