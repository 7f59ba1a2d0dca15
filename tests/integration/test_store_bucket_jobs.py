"""Jobs with a bucket store, from upload to result."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.blobstore import open_store
from service.decoding.extractor import open_clip_extractor
from service.domain.clip import Chunk, ClipClosed
from service.domain.options import AnalysisOptions
from service.settings import Settings
from tests.integration.bucket_server import BucketServer
from tests.integration.fakes import iterate_chunks
from tests.integration.job_environment import eventually
from tests.integration.processes import running_service
from tests.integration.servers import free_port
from training.synthetic.clip import render_demo_clip

CLIP_BYTES = 20_000_000

pytestmark = pytest.mark.usefixtures("bucket_credentials")


async def test_a_job_goes_from_upload_to_result_through_a_bucket(
    settings: Settings, bucket_server: BucketServer, tmp_path: Path
) -> None:
    prefix = uuid4().hex
    port = free_port()
    values: dict[str, Any] = {
        **settings.model_dump(include=settings.model_fields_set),
        **bucket_server.settings(prefix, store_scratch_dir=tmp_path / "scratch"),
        "http_port": port,
        "max_upload_bytes": 2 * CLIP_BYTES,
    }
    settings = Settings(**values)

    with running_service(settings, "gateway"), running_service(settings, "worker", "50", "0.01"):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

            async def is_live() -> bool | None:
                try:
                    return (await client.get("/health/live")).is_success
                except httpx.ConnectError:
                    return None

            assert await eventually(is_live, 60.0)
            accepted = await client.post(
                "/v1/jobs", content=bytes(CLIP_BYTES), headers={"Content-Type": "video/mp4"}
            )
            job = f"/v1/jobs/{accepted.json()['id']}"

            async def ended() -> dict[str, Any] | None:
                found = (await client.get(job)).json()
                return None if found["state"] in ("queued", "running") else found

            assert (await eventually(ended, 60.0))["state"] == "succeeded"
            result = (await client.get(f"{job}/result")).json()

    assert len(result["frames"]["index"]) == 50
    job_id = job.removeprefix("/v1/jobs/")
    stored = [name for name in bucket_server.list_files(prefix) if name != "pair"]
    assert stored == [f"clips/{job_id}", f"results/{job_id}/1.csv", f"results/{job_id}/1.json"]
    assert not settings.store_dir.exists()


async def test_a_decode_process_reads_the_unlinked_copy(
    bucket_server: BucketServer, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    await asyncio.to_thread(render_demo_clip, clip, seconds=1.0, height=240, width=320)
    content = await asyncio.to_thread(clip.read_bytes)
    settings = Settings(**bucket_server.settings(uuid4().hex, store_scratch_dir=tmp_path))
    store = open_store(settings)
    await store.put("clips/a", iterate_chunks(content))

    async with (
        open_clip_extractor(Settings()) as extraction,
        store.open_file("clips/a") as copy,
        extraction(copy, AnalysisOptions()) as extracts,
    ):
        found = [extract async for extract in extracts]

    assert isinstance(found[-1], ClipClosed)
    frames = [frame for extract in found if isinstance(extract, Chunk) for frame in extract.frames]
    assert len(frames) == 25
