"""Versions of a model change while jobs and streams are under way; files are exchanged."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import grpc
import psutil
import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from service.domain.estimator import EstimatorId
from service.embedded.stack import Stack, isolate_settings, run_stack
from service.estimators.repository import EstimatorRepository
from service.settings import YARDSTICK, Settings
from tests.e2e.model_versions import (
    Annotation,
    LoadedClient,
    find_largest_difference,
    run_models_command,
)
from tests.integration.job_environment import eventually, until
from training.export import ExportTarget, export_untrained
from training.presets import MINI

JOBS = 4
"""Jobs that are submitted in each phase."""
STREAMS = 2
TOLERANCE = 1e-5
FIRST, SECOND = f"{YARDSTICK}@1", f"{YARDSTICK}@2"


@pytest.fixture(scope="module")
def repository(mini_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of this module alone."""
    folder = tmp_path_factory.mktemp("versions") / "models"
    shutil.copytree(mini_repository, folder)
    return folder


@pytest.fixture(scope="module")
def upgraded_stack(
    triton_dir: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    settings = Settings(
        runtime_dir=triton_dir.parent,
        face_models_dir=triton_dir.parent / "faces",
        model_repository=repository,
        models=YARDSTICK,
        lease_seconds=3.0,
        max_streams=STREAMS + 4,
        stream_admission_latency_seconds=60.0,
    )
    with run_stack(isolate_settings(settings, tmp_path_factory.mktemp("stack"))) as running:
        yield running


@pytest.fixture
async def loaded_client(
    upgraded_stack: Stack, talking_clip: Path, jpegs: list[bytes]
) -> AsyncGenerator[LoadedClient]:
    settings = upgraded_stack.settings
    content = await asyncio.to_thread(talking_clip.read_bytes)
    async with LoadedClient(
        f"http://{settings.host}:{settings.http_port}",
        f"{settings.host}:{settings.grpc_port}",
        content,
        jpegs,
    ) as client:
        yield client


def export_second(repository: Path) -> None:
    target = ExportTarget(repository=repository, estimator=EstimatorId(YARDSTICK, 2))
    export_untrained(MINI, target, seed=2)


async def run_command(stack: Stack, *arguments: str) -> str:
    """Run `circumplex models ...`, which must succeed; returns its standard error."""
    done = await asyncio.to_thread(run_models_command, stack.settings, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stderr


async def run_refused_command(stack: Stack, *arguments: str) -> str:
    """Run `circumplex models ...`, which must fail; returns its standard error in one line."""
    done = await asyncio.to_thread(run_models_command, stack.settings, *arguments)
    assert done.returncode == 1, done.stderr
    return " ".join(done.stderr.split())


async def test_an_upgrade_under_load_and_the_way_back_lose_nothing(
    upgraded_stack: Stack, repository: Path, loaded_client: LoadedClient
) -> None:
    """Every result is by the version that its acknowledgement names, to the last digits."""
    end = asyncio.Event()
    async with asyncio.TaskGroup() as clients:

        def start_jobs(count: int) -> list[asyncio.Task[Annotation]]:
            return [clients.create_task(loaded_client.run_job()) for _ in range(count)]

        def start_streams() -> list[asyncio.Task[Annotation]]:
            return [clients.create_task(loaded_client.run_stream(end=end)) for _ in range(STREAMS)]

        jobs, streams = start_jobs(JOBS), start_streams()
        await asyncio.to_thread(export_second, repository)
        await run_command(upgraded_stack, "load", SECOND)
        jobs += start_jobs(1)
        await run_command(upgraded_stack, "use", SECOND)
        jobs += start_jobs(JOBS)
        streams += start_streams()
        await jobs[-1]
        refused = await run_refused_command(upgraded_stack, "unload", FIRST)
        await run_command(upgraded_stack, "use", FIRST)
        jobs += start_jobs(1)
        end.set()
    assert "model_in_use" in refused
    assert f"{STREAMS} streams" in refused
    expected = [FIRST] * (JOBS + 1) + [SECOND] * JOBS + [FIRST]
    assert [job.result().model for job in jobs] == expected
    assert [stream.result().model for stream in streams] == [FIRST] * STREAMS + [SECOND] * STREAMS
    await check_values(loaded_client, [task.result() for task in jobs], is_stream=False)
    await check_values(loaded_client, [task.result() for task in streams], is_stream=True)


async def check_values(
    client: LoadedClient, annotations: list[Annotation], *, is_stream: bool
) -> None:
    """Compare annotations with those of each version at rest, which differ from each other."""
    if is_stream:
        count = max(len(each.values) for each in annotations)
        rest = {each: await client.run_stream(count, model=each) for each in (FIRST, SECOND)}
    else:
        rest = {each: await client.run_job(each) for each in (FIRST, SECOND)}
    assert find_largest_difference(rest[FIRST].values, rest[SECOND].values) > 0.01
    for annotation in annotations:
        assert annotation.named_by_result == annotation.model
        if not is_stream:
            expected = rest[annotation.model].values
            assert find_largest_difference(annotation.values, expected) < TOLERANCE
        else:
            same = await client.run_stream(len(annotation.values), model=annotation.model)
            assert find_largest_difference(annotation.values, same.values) < TOLERANCE


async def test_a_job_of_an_unloaded_version_says_so_and_is_retried_after_its_load(
    upgraded_stack: Stack, loaded_client: LoadedClient
) -> None:
    await run_command(upgraded_stack, "use", FIRST)
    await run_command(upgraded_stack, "load", SECOND)
    with suspended(upgraded_stack.parts["worker"]):
        submitted = await loaded_client.submit(SECOND)
        in_use = await run_refused_command(upgraded_stack, "unload", SECOND)
        await run_command(upgraded_stack, "unload", "--force", SECOND)
        refused = await loaded_client.submit(SECOND)
    failed = await loaded_client.wait(submitted["id"])
    await run_command(upgraded_stack, "load", SECOND)
    await loaded_client.retry(submitted["id"])
    retried = await loaded_client.wait(submitted["id"])

    assert "1 queued or running jobs" in in_use
    assert refused["code"] == "model_not_served"
    assert failed["error"]["code"] == "model_not_served"
    assert (retried["state"], retried["model"]) == ("succeeded", SECOND)
    assert upgraded_stack.find_ended_parts() == []


@contextmanager
def suspended(processes: Iterable[psutil.Process]) -> Generator[None]:
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


async def test_what_is_in_use_is_not_unloaded(upgraded_stack: Stack) -> None:
    refused = await run_refused_command(upgraded_stack, "unload", FIRST)
    assert f"{FIRST} is the current version" in refused


async def test_an_exchanged_file_is_an_error_of_its_model_alone(
    upgraded_stack: Stack, repository: Path, loaded_client: LoadedClient
) -> None:
    """New jobs, streams under way and readiness name it; its file's return ends that."""
    await run_command(upgraded_stack, "use", FIRST)
    await run_command(upgraded_stack, "load", SECOND)
    files = EstimatorRepository(repository)
    file = files.model_file(EstimatorId(YARDSTICK, 1), "fusion")
    other = files.model_file(EstimatorId(YARDSTICK, 2), "fusion")
    original = file.read_bytes()
    stream = asyncio.create_task(loaded_client.run_stream(end=asyncio.Event()))
    accepted = await loaded_client.submit(FIRST)
    await loaded_client.wait(accepted["id"])
    try:
        file.write_bytes(other.read_bytes())
        refused = await loaded_client.submit(FIRST)
        with pytest.raises(grpc.aio.AioRpcError, match="is not the file that the manifest"):
            await stream
        health = await loaded_client.get("/health/ready")
        by_other = await loaded_client.run_job(SECOND)
    finally:
        file.write_bytes(original)

    assert refused["code"] == "model_changed"
    assert health.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert health.json()["models"] == {FIRST: "model_changed"}
    assert by_other.named_by_result == SECOND
    await eventually(lambda: _is_ready(loaded_client))


async def _is_ready(client: LoadedClient) -> bool | None:
    return (await client.get("/health/ready")).status_code == HTTPStatus.OK or None


async def test_the_backend_refuses_a_file_that_was_exchanged_before_it_is_loaded(
    upgraded_stack: Stack, repository: Path
) -> None:
    await run_command(upgraded_stack, "load", SECOND)
    files = EstimatorRepository(repository)
    file = files.model_file(EstimatorId(YARDSTICK, 2), "live_fusion")
    original = file.read_bytes()
    part = f"{SECOND}.live_fusion"
    with InferenceServerClient(upgraded_stack.settings.triton_url) as triton:
        triton.unload_model(part)
        await until(lambda: not triton.is_model_ready(part))
        try:
            file.write_bytes(
                files.model_file(EstimatorId(YARDSTICK, 1), "live_fusion").read_bytes()
            )
            with pytest.raises(InferenceServerException, match="not the file that was exported"):
                triton.load_model(part)
        finally:
            file.write_bytes(original)


async def test_a_version_whose_files_are_removed_can_still_be_unloaded(
    upgraded_stack: Stack, repository: Path
) -> None:
    """The last test here: its number is not given again."""
    await asyncio.to_thread(export_second, repository)
    await run_command(upgraded_stack, "load", SECOND)
    await run_command(upgraded_stack, "remove", SECOND)
    with InferenceServerClient(upgraded_stack.settings.triton_url) as triton:
        assert triton.is_model_ready(f"{SECOND}.fusion")
        unloaded = await run_command(upgraded_stack, "unload", SECOND, "--force")
        await until(lambda: not triton.is_model_ready(f"{SECOND}.fusion"))
    again = await run_refused_command(upgraded_stack, "unload", SECOND, "--force")
    assert "files were removed before" in unloaded
    assert "neither exported nor loaded" in again
    assert EstimatorRepository(repository).next_version(YARDSTICK) == 3
