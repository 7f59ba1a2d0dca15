"""Triton client: shared memory and gRPC agree, lost regions, outages, cancelled callers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from prometheus_client import CollectorRegistry
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from service.domain.array_types import Float32Array, UInt8Array
from service.embedded.process import find_free_ports
from service.embedded.triton import TritonPorts, run_triton
from service.errors import InferenceFailed, InferenceUnavailable
from service.pipeline.estimators import read_default_manifest
from service.settings import YARDSTICK, Settings
from service.telemetry.metrics import Metrics
from service.triton.client import TritonConnection, connect_triton
from service.triton.requests import ModelClient, SharedCropMemory
from tests.integration.triton_models import MINI, open_inference

UNUSED_PID = 2**22 + 1
"""Above the largest process id of Linux."""


@pytest.fixture
def settings(triton_server: TritonPorts, mini_repository: Path) -> Settings:
    return Settings(
        models=YARDSTICK, model_repository=mini_repository, triton_url=triton_server.grpc_url
    )


@pytest.fixture
def absent(mini_repository: Path) -> Settings:
    """Settings of a Triton that does not run."""
    [port] = find_free_ports(1)
    return Settings(
        models=YARDSTICK, model_repository=mini_repository, triton_url=f"127.0.0.1:{port}"
    )


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def crops() -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, (17, 3, 112, 112), dtype=np.uint8)


async def list_regions(url: str) -> Sequence[str]:
    async with InferenceServerClient(url) as client:
        status = await client.get_system_shared_memory_status()
        return sorted(status.regions)


async def unregister_all(client: InferenceServerClient) -> None:
    """Unregister every region, those of requests that have just finished included."""
    while (await client.get_system_shared_memory_status()).regions:
        with suppress(InferenceServerException):
            await client.unregister_system_shared_memory()


async def test_shared_memory_and_grpc_give_the_same_bits(
    settings: Settings, metrics: Metrics, crops: UInt8Array
) -> None:
    answers: list[Float32Array] = []
    for mode in ("on", "off"):
        chosen = settings.model_copy(update={"triton_shared_memory": mode})
        async with open_inference(chosen, metrics) as inference:
            answers.append(await inference.embed_faces(crops))
            assert bool(await list_regions(settings.triton_url)) == (mode == "on")
    assert np.array_equal(answers[0], answers[1])
    assert await list_regions(settings.triton_url) == []


async def test_more_requests_than_slots_use_their_own_crops(
    settings: Settings, metrics: Metrics
) -> None:
    random = np.random.default_rng(1)
    clips = [random.integers(0, 256, (n, 3, 112, 112), dtype=np.uint8) for n in range(1, 25)]
    async with open_inference(settings, metrics) as inference:
        alone = [await inference.embed_faces(clip) for clip in clips]
        together = await asyncio.gather(*map(inference.embed_faces, clips))
    assert all(map(np.array_equal, alone, together))


async def test_a_few_crops_need_no_shared_memory(
    settings: Settings, metrics: Metrics, crops: UInt8Array
) -> None:
    async with open_inference(settings, metrics) as inference:
        few = await inference.embed_faces(crops[:8])
        assert await list_regions(settings.triton_url) == []
        many = await inference.embed_faces(crops)
        assert len(await list_regions(settings.triton_url)) == 1
    assert np.array_equal(few, many[:8])


@pytest.mark.parametrize("missing_bytes", [0, 1])
async def test_crops_without_a_free_slot_are_sent_inline(
    settings: Settings, metrics: Metrics, crops: UInt8Array, missing_bytes: int
) -> None:
    """All slots are in use, or each is a byte too small."""
    async with InferenceServerClient(settings.triton_url) as client:
        slot_bytes = crops.nbytes - missing_bytes
        memory = SharedCropMemory(client, slot_bytes=slot_bytes, slots=1, timeout_seconds=5)
        assert (memory.claim(crops.nbytes) is None) == bool(missing_bytes)
        calls = ModelClient(client, timeout_seconds=30, metrics=metrics)
        connection = TritonConnection(
            client, model_client=calls, crop_memory=memory, requires_shared_memory=True
        )
        inference = connection.select(read_default_manifest(settings))
        faces = await asyncio.wait_for(inference.embed_faces(crops), 60)
        assert await list_regions(settings.triton_url) == []
        await connection.close()
    assert faces.shape == (17, 512)


async def test_a_region_that_triton_lost_is_registered_again(
    settings: Settings, metrics: Metrics, crops: UInt8Array
) -> None:
    async with open_inference(settings, metrics) as inference:
        before = await inference.embed_faces(crops)
        async with InferenceServerClient(settings.triton_url) as other:
            await unregister_all(other)
        again = await asyncio.gather(*(inference.embed_faces(crops) for _ in range(8)))
        assert len(await list_regions(settings.triton_url)) == 1
    assert all(np.array_equal(before, after) for after in again)


async def test_regions_of_a_killed_worker_are_released(
    settings: Settings, metrics: Metrics, crops: UInt8Array
) -> None:
    names = [f"circumplex-{UNUSED_PID}-left", "another-1-left"]
    async with InferenceServerClient(settings.triton_url) as client:
        for name in names:
            memory = SharedMemory(create=True, size=4096)
            await client.register_system_shared_memory(name, f"/{memory.name}", memory.size)
            memory.close()
            memory.unlink()
        async with open_inference(settings, metrics) as inference:
            await inference.embed_faces(crops)
        assert await list_regions(settings.triton_url) == names[1:]
        await unregister_all(client)


async def test_requests_of_a_killed_worker_block_no_other(
    settings: Settings, metrics: Metrics, crops: UInt8Array
) -> None:
    name, count = f"circumplex-{UNUSED_PID}-busy", 512
    size = count * crops[0].nbytes
    memory = SharedMemory(create=True, size=size)
    async with InferenceServerClient(settings.triton_url) as other:
        await other.register_system_shared_memory(name, f"/{memory.name}", size)
        model_input = InferInput("INPUT__0", [count, 3, 112, 112], "UINT8")
        model_input.set_shared_memory(name, size)
        slow = asyncio.create_task(other.infer(MINI.part_name("visual_backbone"), [model_input]))
        await asyncio.sleep(0.1)  # Triton does not report that it has begun a request
        async with open_inference(settings, metrics) as inference:
            assert (await inference.embed_faces(crops)).shape == (17, 512)
        await asyncio.wait([slow])
        await unregister_all(other)
    memory.close()
    memory.unlink()


async def test_cancelling_a_caller_does_not_cancel_its_request(
    settings: Settings, metrics: Metrics, crops: UInt8Array
) -> None:
    async with open_inference(settings, metrics) as inference:
        call = asyncio.create_task(inference.embed_faces(crops))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    metric = "circumplex_triton_request_duration_seconds_count"
    labels = {"model": str(MINI), "slot": "visual_backbone"}
    assert metrics.registry.get_sample_value(metric, labels) == 1


async def test_an_absent_triton_is_unready_and_retryable(
    absent: Settings, metrics: Metrics, crops: UInt8Array
) -> None:
    manifest = read_default_manifest(absent)
    async with connect_triton(absent, metrics) as triton:
        with pytest.raises(InferenceUnavailable):
            await triton.find_unready(manifest)
        inference = triton.select(manifest)
        with pytest.raises(InferenceUnavailable):
            await inference.embed_faces(crops)


async def test_empty_input_makes_no_request(absent: Settings, metrics: Metrics) -> None:
    async with open_inference(absent, metrics) as inference:
        faces = await inference.embed_faces(np.zeros((0, 3, 112, 112), np.uint8))
        voice = await inference.embed_voice(np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert (faces.shape, voice.shape) == ((0, 512), (0, 128))


class UnsharedMemoryClient(InferenceServerClient):
    """A client that registers memory which Triton cannot open."""

    async def register_system_shared_memory(
        self, name: str, key: str, byte_size: int, **options: Any
    ) -> None:
        await super().register_system_shared_memory(name, f"{key}-elsewhere", byte_size, **options)


@pytest.mark.parametrize("is_required", [False, True])
async def test_unshareable_memory_falls_back_unless_required(
    settings: Settings, metrics: Metrics, crops: UInt8Array, is_required: bool
) -> None:
    async with open_inference(settings, metrics) as inference:
        expected = await inference.embed_faces(crops)
    async with UnsharedMemoryClient(settings.triton_url) as client:
        memory = SharedCropMemory(client, slot_bytes=crops.nbytes, slots=1, timeout_seconds=5)
        calls = ModelClient(client, timeout_seconds=30, metrics=metrics)
        connection = TritonConnection(
            client, model_client=calls, crop_memory=memory, requires_shared_memory=is_required
        )
        fallback = connection.select(read_default_manifest(settings))
        if is_required:
            with pytest.raises(InferenceFailed, match="shared memory"):
                await fallback.embed_faces(crops)
        else:
            answers = await asyncio.gather(*(fallback.embed_faces(crops) for _ in range(3)))
            assert all(np.array_equal(expected, answer) for answer in answers)
        await connection.close()


@pytest.mark.parametrize("is_required", [False, True])
async def test_full_shared_memory_is_a_pause_or_a_retryable_error(
    settings: Settings, metrics: Metrics, crops: UInt8Array, is_required: bool, tmp_path: Path
) -> None:
    """Allocation fails; tests/unit/triton shows that it does where the file system is full."""
    full = tmp_path / "no folder"
    async with InferenceServerClient(settings.triton_url) as client:
        memory = SharedCropMemory(
            client, slot_bytes=crops.nbytes, slots=1, timeout_seconds=5, folder=full
        )
        calls = ModelClient(client, timeout_seconds=30, metrics=metrics)
        connection = TritonConnection(
            client, model_client=calls, crop_memory=memory, requires_shared_memory=is_required
        )
        inference = connection.select(read_default_manifest(settings))
        if is_required:
            for _ in range(3):  # no slot is lost
                with pytest.raises(InferenceUnavailable, match="full"):
                    await inference.embed_faces(crops)
            assert InferenceUnavailable.retryable
        else:
            answers = [await inference.embed_faces(crops) for _ in range(3)]
            assert all(answer.shape == (17, 512) for answer in answers)
        await connection.close()
    count = metrics.registry.get_sample_value("circumplex_shared_memory_full_total")
    assert count == (0 if is_required else 1)


async def test_a_dead_model_process_is_an_outage(
    triton_dir: Path, mini_repository: Path, tmp_path: Path, metrics: Metrics, crops: UInt8Array
) -> None:
    before = set(psutil.Process().children(recursive=True))
    with run_triton(server_dir=triton_dir, repository=mini_repository, logs_dir=tmp_path) as ports:
        started = set(psutil.Process().children(recursive=True)) - before
        folder = f"/{MINI.part_name('visual_backbone')}/"
        (stub,) = (part for part in started if any(folder in a for a in part.cmdline()))
        settings = Settings(
            models=YARDSTICK, model_repository=mini_repository, triton_url=ports.grpc_url
        )
        async with open_inference(settings, metrics) as inference:
            assert len(await inference.embed_faces(crops)) == len(crops)
            stub.kill()
            with pytest.raises(InferenceUnavailable):
                await inference.embed_faces(crops)


async def test_a_stopping_triton_is_an_outage(
    triton_dir: Path, mini_repository: Path, tmp_path: Path, metrics: Metrics, crops: UInt8Array
) -> None:
    before = set(psutil.Process().children())
    with run_triton(server_dir=triton_dir, repository=mini_repository, logs_dir=tmp_path) as ports:
        (server,) = set(psutil.Process().children()) - before
        settings = Settings(
            models=YARDSTICK, model_repository=mini_repository, triton_url=ports.grpc_url
        )
        async with open_inference(settings, metrics) as inference:
            errors: list[BaseException] = []
            server.terminate()
            while psutil.pid_exists(server.pid) and server.status() != psutil.STATUS_ZOMBIE:
                requests = [inference.embed_faces(crops) for _ in range(4)]
                results = await asyncio.gather(*requests, return_exceptions=True)
                errors += [each for each in results if isinstance(each, BaseException)]
        assert errors
        assert [each for each in errors if not isinstance(each, InferenceUnavailable)] == []
