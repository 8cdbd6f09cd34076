"""A picture of a page that asks for a login, by Chromium without a window and its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-port=0",
)  # fmt: skip
LONGEST = 60.0


def browser() -> str:
    """Return the path of a Chromium; empty where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), "")


def take_pictures(pages: dict[str, Path], cookies: dict[str, str], *, width: int = 1280) -> None:
    """Write a PNG of each page, as long as it is. pages: URL -> file. cookies: by name, for all of 127.0.0.1.

    Raises OSError or TimeoutError if the browser does not start or does not answer.
    """
    asyncio.run(asyncio.wait_for(_take(pages, cookies, width), LONGEST * (1 + len(pages))))


async def _take(pages: dict[str, Path], cookies: dict[str, str], width: int) -> None:
    import aiohttp

    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            browser(), *FLAGS, f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    tabs = await answer.json(content_type=None)
                address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
                async with session.ws_connect(address, max_msg_size=1 << 28) as socket:
                    for url, file in pages.items():
                        await _one(_Tab(socket), url, file, cookies, width)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _port(file: Path) -> int:
    for _ in range(int(LONGEST * 10)):
        with suppress(FileNotFoundError, ValueError, IndexError):
            return int(file.read_text().split()[0])
        await asyncio.sleep(0.1)
    raise TimeoutError("the browser did not start")


class _Tab:
    """Sends commands of the DevTools protocol and waits for their answers."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._n = socket, 0

    async def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._n += 1
        await self._socket.send_json({"id": self._n, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json(timeout=LONGEST)
            if answer.get("id") == self._n:
                if "error" in answer:
                    raise OSError(f"the browser refused {method}: {answer['error'].get('message')}")
                return dict(answer["result"])


async def _one(tab: _Tab, url: str, file: Path, cookies: dict[str, str], width: int) -> None:
    for name, value in cookies.items():
        await tab.do("Network.setCookie", name=name, value=value, url=url, sameSite="Strict")
    size = {"width": width, "deviceScaleFactor": 1, "mobile": False}
    await tab.do("Emulation.setDeviceMetricsOverride", height=900, **size)
    await tab.do("Page.navigate", url=url)
    for _ in range(int(LONGEST * 5)):
        # The page before this one is complete too, so its address is asked for as well.
        state = await tab.do("Runtime.evaluate", expression="document.readyState + ' ' + location.href")
        if state["result"]["value"] == f"complete {url}":
            break
        await asyncio.sleep(0.2)
    else:
        raise TimeoutError(f"{url} was not loaded")
    content = (await tab.do("Page.getLayoutMetrics"))["cssContentSize"]
    await tab.do("Emulation.setDeviceMetricsOverride", height=max(900, min(6000, int(content["height"]))), **size)
    picture = await tab.do("Page.captureScreenshot", format="png")
    file.write_bytes(base64.b64decode(picture["data"]))
