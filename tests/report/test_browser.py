"""The page in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from compass.report import build_report


@pytest.fixture(scope="module")
def browser() -> str:
    """A Chromium by any of its names; without one these tests say so and are skipped."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium on the path: install chromium or google-chrome to test the page in a browser")


def opened(browser: str, page: Path, profile: Path, *flags: str) -> tuple[str, str]:
    """Open the page offline; return the document after its scripts have run, and what the console said."""
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0",
        "--window-size=1280,4000", "--virtual-time-budget=5000", *flags, "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_the_page_opens_without_a_console_message_and_draws_every_figure(
    browser: str, run_folder: Path, tmp_path: Path
) -> None:
    """Would break if a script fails, the policy blocks what the page needs, or a figure is not drawn.

    The fixture's texts try to end scripts and to run an `onerror`, which would speak on the console.
    """
    page = build_report(run_folder)
    document, console = opened(browser, page, tmp_path / "profile")
    assert console == ""
    ids = re.findall(r'data-figure="(plot-[\w-]+)"', page.read_text("utf-8"))
    assert len(ids) >= 14
    drawn = re.findall(r'<div class="plot js-plotly-plot" id="(plot-[\w-]+)"', document)
    assert drawn == ids
    assert document.count('class="main-svg"') >= len(ids)
    # Marks, not only axes: the map's points and the bars of the gap.
    assert len(re.findall(r'<path class="point\b', document)) > 1500
    assert 'aria-current="true"' in document
    assert re.search(r'role="status"[^>]*>12 of 240 rows<', document)


def test_a_selection_alone_opens_as_well(browser: str, selected_folder: Path, tmp_path: Path) -> None:
    """Would break if the scripts expect figures that a partial run has not."""
    document, console = opened(browser, build_report(selected_folder), tmp_path / "profile")
    assert console == ""
    assert 'class="main-svg"' in document


def test_the_console_is_really_read(browser: str, tmp_path: Path) -> None:
    """Would break if the browser stopped reporting console errors, and the tests above passed for nothing."""
    page = tmp_path / "page.html"
    page.write_text("<script>console.error('heard'); missing();</script>", "utf-8")
    _, console = opened(browser, page, tmp_path / "profile")
    assert "heard" in console
    assert "missing is not defined" in console


PHONE = """<!doctype html><iframe src="report.html" style="width:390px;height:9000px;border:0"></iframe><p></p><script>
onload = () => {
  const page = document.querySelector("iframe").contentDocument, range = page.createRange();
  const ends = [...page.querySelectorAll("caption:not(.hidden)")].filter(c => c.offsetParent).map(caption => {
    range.selectNodeContents(caption);
    return Math.round(range.getBoundingClientRect().right);
  });
  document.querySelector("p").textContent = `captions end at: ${ends}`;
};
</script>"""


def test_no_caption_of_a_table_is_cut_on_a_phone(browser: str, run_folder: Path, tmp_path: Path) -> None:
    """Would break if a caption is as wide as its table, which is scrolled: nobody scrolls to read a title."""
    page = build_report(run_folder).with_name("phone.html")
    page.write_text(PHONE, "utf-8")
    document, _ = opened(browser, page, tmp_path / "profile", "--allow-file-access-from-files")
    found = re.search(r"captions end at: ([\d,]+)<", document)
    assert found, document
    ends = [int(end) for end in found[1].split(",")]
    assert len(ends) > 5
    assert max(ends) <= 390
