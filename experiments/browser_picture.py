"""A picture of a page that asks for a login, by playwright and a Chromium without a window."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
LONGEST = 60_000
"""Milliseconds that a page may take."""


def browser() -> str:
    """Return the path of a Chromium; empty where there is none, or no playwright."""
    found = next((found for name in BROWSERS if (found := shutil.which(name))), "")
    return found if find_spec("playwright") else ""


def take_pictures(pages: dict[str, Path], cookies: dict[str, str], *, width: int = 1280, scheme: str = "light") -> None:
    """Write a PNG of each page, as long as it is. pages: URL -> file; cookies: by name; scheme: `light` or `dark`.

    Raises OSError if the browser does not start or does not answer.
    """
    from playwright.sync_api import Error, sync_playwright

    try:
        with sync_playwright() as started:
            opened = started.chromium.launch(executable_path=browser(), args=list(FLAGS), timeout=LONGEST)
            context = opened.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            for url, file in pages.items():
                context.add_cookies([{"name": name, "value": value, "url": url} for name, value in cookies.items()])
                page.goto(url, wait_until="load", timeout=LONGEST)
                page.screenshot(path=file, full_page=True, timeout=LONGEST)
            opened.close()
    except Error as error:
        raise OSError(f"the browser took no picture ({error.message.splitlines()[0]})") from error
