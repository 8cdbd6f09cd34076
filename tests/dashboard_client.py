"""A client of the dashboard, as a browser would be."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.testclient import TestClient

from compass.dashboard.app import Dashboard, mount
from compass.dashboard.places import Places
from compass.registry import Registry
from compass.serve.fleet import Fleet
from compass.serve.keys import Keys, read_keys

ACT, VIEW, CLIENT = "key-of-anna", "key-of-ben", "key-of-an-app"
ORIGIN = {"origin": "http://testserver"}


def keys() -> Keys:
    """Return keys of which one acts, one looks, and one is a client's."""
    rights = {f"anna={_hash(ACT)}:act", f"ben={_hash(VIEW)}:view", f"app={_hash(CLIENT)}"}
    return read_keys("", {"COMPASS_SERVE_KEYS": " ".join(rights)})


def _hash(key: str) -> str:
    return sha256(key.encode()).hexdigest()


class Launches(list[Any]):
    """Commands that would have been started."""

    def __call__(self, command: Any, log: Path) -> Any:
        """Note a command in place of starting it."""
        self.append(list(command))

        class Running:
            returncode: int | None = None

            def poll(self) -> int | None:
                return self.returncode

        self.process = Running()
        return self.process


class Site:
    """A dashboard, and a client that is logged in."""

    def __init__(self, root: Path, key: str = ACT, *, app: Starlette | None = None, fleet: Fleet | None = None) -> None:
        self.root, self.launches = root, Launches()
        self.registry = Registry(root / "registry")
        self.places = Places(self.registry, root / "watch", root / "serve")
        self.dashboard = Dashboard(self.places, keys(), launch=self.launches, fleet=fleet)
        self.app = app or Starlette()
        mount(self.app, self.dashboard)
        self.client = TestClient(self.app, follow_redirects=True)
        if key:
            self.log_in(key)

    def log_in(self, key: str) -> Any:
        """Log in as a browser does."""
        page = self.client.get("/dashboard/login")
        return self.client.post("/dashboard/login", data={"key": key, "csrf": token(page.text)}, headers=ORIGIN)

    def get(self, path: str) -> Any:
        """Return a page."""
        return self.client.get(f"/dashboard{path}")

    def act(self, path: str, **values: Any) -> Any:
        """Send the form of an action with the token of a page."""
        csrf = token(self.get("/").text)
        return self.client.post(f"/dashboard{path}", data={"csrf": csrf, **values}, headers=ORIGIN)


def token(page: str) -> str:
    """Return the token in a page's form."""
    return re.search(r'name="csrf" value="([^"]+)"', page)[1]  # type: ignore[index]
