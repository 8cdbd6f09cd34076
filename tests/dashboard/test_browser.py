"""The pages in a real browser: nothing breaks out, everybody can use them, and they stay up to date."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard_client import ACT, Site
from listening import listening

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WAIT = 30_000
"""Milliseconds, for a machine that is busy."""


@pytest.fixture(scope="module")
def served(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Site]]:
    """A dashboard on a port of its own, over a registry of its own."""
    root = tmp_path_factory.mktemp("served")
    for name in ("registry", "watch", "serve"):
        shutil.copytree(made / name, root / name)
    site = Site(root, key="")
    with listening(site.app, lifespan="off", stop=site.dashboard.live.stop) as address:
        yield address, site


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium by any of its names; without one these tests say so and are skipped."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on the path: install chromium or google-chrome to test the dashboard in a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="install the extra dev to test in a browser")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def state(browser: Any, served: tuple[str, Site]) -> Any:
    """Log in once by the keyboard alone, and keep the cookie."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{served[0]}/dashboard/")
    # The field takes the focus by itself, a moment after the page is there.
    page.locator("input:focus").wait_for(timeout=WAIT)
    page.keyboard.type(ACT)
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard/", timeout=WAIT)
    kept = context.storage_state()
    context.close()
    return kept


def opened(browser: Any, state: Any, **options: Any) -> tuple[Any, list[str]]:
    """Return a page of a new context, and what goes wrong in it."""
    page = browser.new_context(storage_state=state, **options).new_page()
    page.set_default_timeout(WAIT)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
    return page, wrong


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_everybody_can_use_the_pages(
    browser: Any, served: tuple[str, Site], state: Any, scheme: str, width: int
) -> None:
    """Would break by a fault that axe finds, a sideways scroll, a script that a prompt brings, or a blocked asset."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page, wrong = opened(browser, state, color_scheme=scheme, viewport={"width": width, "height": 740})
    for path in ("/dashboard/", "/dashboard/cy", "/dashboard/cy/promote"):
        page.goto(served[0] + path)
        page.evaluate("document.querySelectorAll('details').forEach((found) => (found.open = true))")
        found = axe.run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert wrong == []
    page.context.close()


def test_two_people_act_and_one_of_them_by_the_keyboard(browser: Any, served: tuple[str, Site], state: Any) -> None:
    """Would break if an action can't be reached by keys, or if the second of two people acts on what is past."""
    url, site = served
    first, second = opened(browser, state), opened(browser, state, viewport={"width": 360, "height": 740})
    first[0].goto(f"{url}/dashboard/cy")
    _tab_to(first[0], "Promote version 3")
    first[0].keyboard.press("Enter")
    first[0].wait_for_url("**/promote*")
    second[0].goto(first[0].url)
    _tab_to(first[0], "Promote")
    first[0].keyboard.press("Enter")
    first[0].get_by_text("is in production.").first.wait_for()
    second[0].get_by_role("button", name="Promote").click()
    second[0].get_by_text("somebody was faster").first.wait_for()
    assert [move.action for move in site.registry.history("cy")][-1] == "promote"
    assert [event.details["done"] for event in site.registry.events("cy")[-2:]] == [True, False]
    for page, wrong in (first, second):
        assert wrong == []
        page.context.close()


def _tab_to(page: Any, text: str) -> None:
    """Press the tab key until the link or button with a text has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText").strip() == text:
            return
    raise AssertionError(f"no key leads to {text!r}")


def test_a_page_follows_what_happens_and_takes_an_action(browser: Any, served: tuple[str, Site], state: Any) -> None:
    """Would break if a move of somebody else is not shown, or a form does not reach the registry."""
    url, site = served
    page, wrong = opened(browser, state)
    page.goto(f"{url}/dashboard/de")
    page.get_by_text("Live", exact=True).wait_for()
    page.locator("#log summary").first.click()
    serving = page.locator(".facts dd").first
    assert serving.inner_text() == "nothing"
    time.sleep(0.1)
    site.registry.promote("de", reason="by hand")
    page.locator(".facts dd", has_text="Version 1").first.wait_for()
    page.goto(f"{url}/dashboard/cy")
    page.get_by_role("link", name="Roll back", exact=True).click()
    page.get_by_label("Reason, for the log").fill("too slow")
    page.get_by_role("button", name="Roll back").click()
    page.get_by_text("is in production again").first.wait_for()
    assert site.registry.history("cy")[-1].reason == "anna, on the dashboard: too slow"
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Key").wait_for()
    assert wrong == []
    page.context.close()
