"""End-to-end speed: concurrent uploads of a clip, from the first byte to the last result."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from circumplex_client import Client

from service.embedded.stack import isolate_settings, run_stack
from service.settings import Settings


def measure_end_to_end(clip: Path, settings: Settings, *, copies: int) -> float:
    """Measure frames a second through REST, queue, decode process and Triton.

    `copies` uploads of one clip run concurrently, after one that is not counted.
    """
    with (
        TemporaryDirectory() as folder,
        run_stack(isolate_settings(settings, Path(folder))) as stack,
        Client(f"http://{stack.settings.host}:{stack.settings.http_port}") as client,
        ThreadPoolExecutor(copies) as threads,
    ):
        _annotate(client, clip)
        started = time.perf_counter()
        frames = list(threads.map(_annotate, [client] * copies, [clip] * copies))
        return sum(frames) / (time.perf_counter() - started)


def _annotate(client: Client, clip: Path) -> int:
    job = client.wait(client.submit(clip).id)
    return len(client.result(job.id).time)
