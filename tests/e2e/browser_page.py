"""Page in a real browser, controlled over the DevTools protocol; its camera plays a file."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from deploy.provision.browser import build_environment
from tests.integration.job_environment import eventually

CHROMIUM = Path(__file__).parents[2] / ".runtime" / "chromium"
START_TIMEOUT_SECONDS = 60.0
CHROMIUM_OPTIONS = (
    *("--headless", "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    "--autoplay-policy=no-user-gesture-required",
)


class BrowserPage:
    """The page in the browser's only tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._message_ids = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._message_ids)
        command = {"id": number, "method": method, "params": parameters}
        await self._socket.send(json.dumps(command))
        while (answer := json.loads(await self._socket.recv())).get("id") != number:
            pass
        return answer["result"]

    async def evaluate(self, expression: str) -> Any:
        """Evaluate an expression as if in a click handler; returns its value."""
        answer = await self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def wait_for(self, expression: str, seconds: float) -> Any:
        """Evaluate an expression until it is truthy; returns its value."""

        async def poll() -> Any:
            return await self.evaluate(expression) or None

        try:
            return await eventually(poll, seconds)
        except TimeoutError:
            text = await self.evaluate("document.documentElement.innerText")
            raise AssertionError(f"{expression} is falsy; the text of the page: {text}") from None


@asynccontextmanager
async def open_page(url: str, camera: Path, profile: Path) -> AsyncGenerator[BrowserPage]:
    """Open `url` in a browser whose camera plays `camera`, a file of Motion JPEG."""
    assert (CHROMIUM / "chromium").is_file(), "Chromium is not unpacked: run `make test`"
    process = await asyncio.create_subprocess_exec(
        CHROMIUM / "chromium",
        *CHROMIUM_OPTIONS,
        f"--use-file-for-fake-video-capture={camera}",
        f"--user-data-dir={profile}",
        url,
        env=build_environment(CHROMIUM),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = await eventually(partial(_find_devtools_url, profile, url), START_TIMEOUT_SECONDS)
        async with connect(address, max_size=None, proxy=None) as socket:
            page = BrowserPage(socket)
            is_loaded = f"location.href === '{url}' && document.readyState === 'complete'"
            await page.wait_for(is_loaded, START_TIMEOUT_SECONDS)
            yield page
    finally:
        process.kill()
        await process.wait()


async def _find_devtools_url(profile: Path, url: str) -> str | None:
    """Return the DevTools address of the tab that shows `url`, once there is one."""
    file = profile / "DevToolsActivePort"
    lines = file.read_text().splitlines() if file.is_file() else []
    if len(lines) < 2:
        return None
    browser = f"ws://127.0.0.1:{lines[0]}"
    async with connect(f"{browser}{lines[1]}", proxy=None) as socket:
        targets = (await BrowserPage(socket).call("Target.getTargets"))["targetInfos"]
    for target in targets:
        if target["type"] == "page" and target["url"].startswith(url):
            return f"{browser}/devtools/page/{target['targetId']}"
    return None


class _SilentRequestHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it overrides
        """Log nothing."""


@asynccontextmanager
async def serving_files(folder: Path) -> AsyncGenerator[str]:
    """Serve static files; yields the address."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(_SilentRequestHandler, directory=str(folder))
    )
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
