"""The example page in a real browser, with a camera, in front of the whole stack."""

from __future__ import annotations

import re
from pathlib import Path

import av
import pytest

from tests.e2e.browser_page import open_page, serving_files
from tests.integration.javascript_client import CLIENT_DIR
from tests.integration.websocket_client import websocket_url

TIMEOUT_SECONDS = 90.0
STATUS_TEXT = "document.getElementById('status').textContent"
NARROW_WIDTH = 360


@pytest.fixture(scope="module")
def camera(talking_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the browser's camera plays."""
    path = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    with av.open(str(talking_clip)) as source, av.open(str(path), "w", format="mjpeg") as target:
        stream = target.add_stream("mjpeg", rate=25, options={"qmin": "2", "qmax": "5"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuvj420p"
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame.reformat(640, 360, "yuvj420p")))
        target.mux(stream.encode(None))
    return path


async def test_the_page_shows_the_estimates_of_its_camera(
    address: str, camera: Path, tmp_path: Path
) -> None:
    async with (
        serving_files(CLIENT_DIR) as files,
        open_page(f"{files}/example.html", camera, tmp_path) as page,
    ):
        await page.call(
            "Emulation.setDeviceMetricsOverride",
            width=NARROW_WIDTH,
            height=800,
            deviceScaleFactor=1,
            mobile=True,
        )
        for kind in ("frames", "container"):
            await page.evaluate(
                f"document.getElementById('url').value = '{websocket_url(address)}';"
                f"document.getElementById('mode').value = '{kind}';"
                "document.getElementById('model').value = 'mini';"
                "document.getElementById('start').click();"
            )
            text = await page.wait_for(
                f"/Frame \\d+.*valence/.test({STATUS_TEXT}) && {STATUS_TEXT}", TIMEOUT_SECONDS
            )
            x = await page.evaluate("document.getElementById('now').getAttribute('cx') * 1")
            await page.evaluate("document.getElementById('stop').click()")
            ended = await page.wait_for(
                f"/^Ended/.test({STATUS_TEXT}) && {STATUS_TEXT}", TIMEOUT_SECONDS
            )

            values = re.findall(r"-?\d\.\d\d(?=[,.]|$)", text.partition("valence")[2])
            assert len(values) == 2, text
            assert all(-1 <= float(value) <= 1 for value in values)
            assert -50 <= x <= 50
            frames = re.match(r"Ended after (\d+) frames", ended)
            assert frames, ended
            assert int(frames[1]) > 0
            caveats = await page.evaluate("document.getElementById('caveats').textContent")
            assert re.match(r"Model mini@1, .", caveats), caveats
        assert await page.evaluate("document.documentElement.scrollWidth") <= NARROW_WIDTH
