"""The Python client against a real gateway: library and command line."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
from circumplex_client import (
    Client,
    ClipOptions,
    Job,
    JobFailed,
    RequestRefused,
    ServiceUnreachable,
    WaitTimedOut,
)
from circumplex_client.__main__ import main

from service.domain import options as domain
from service.domain.clip import AnalysisEvent
from service.errors import ClipNotMedia, DecoderCrashed
from service.gateway.context import GatewayContext
from service.gateway.lifecycle import ShutdownState
from service.gateway.rest.app import create_app
from service.jobs.queue.database import JobFilter
from service.pipeline.estimators import ServedEstimator
from tests.fake_estimators import write_fake_estimator
from tests.integration.fakes import make_failing_analysis, make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.servers import free_port, serving


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / 'Ünïque "clip".mp4'
    path.write_bytes(bytes(600_000))
    return path


async def test_clip_is_annotated_with_progress_of_upload_and_job(
    address: str, env: JobEnvironment, clip: Path
) -> None:
    uploads: list[tuple[int, int]] = []
    jobs: list[Job] = []
    with Client(address) as client:
        async with env.running_worker(make_fake_analysis(20, frame_seconds=0.1)):
            result = await asyncio.to_thread(
                client.annotate,
                clip,
                on_upload=lambda sent, size: uploads.append((sent, size)),
                on_progress=jobs.append,
            )

    assert len(result) == len(result.valence) == len(result.face.left) == 20
    assert result.valence[:3] == [None, None, 0.2]
    assert result.flags == ["no_audio", "weights_unmeasured"]
    assert uploads[-1] == (600_000, 600_000)
    assert len(uploads) > 1
    assert jobs[-1].progress.fraction == 1.0
    assert any(0 < (job.progress.fraction or 0) < 1 for job in jobs)
    record = await env.queue.find(jobs[0].id)
    assert (record.filename, record.media_type) == ("Ünïque _clip_.mp4", "video/mp4")


async def test_options_of_a_clip_reach_its_analysis(
    address: str, env: JobEnvironment, clip: Path
) -> None:
    received: list[domain.AnalysisOptions] = []
    options = ClipOptions(faces="all", video_stream=1, audio_stream=0)

    async def analyse(
        path: Path, given: domain.AnalysisOptions, estimator: ServedEstimator
    ) -> AsyncGenerator[AnalysisEvent]:
        received.append(given)
        async for event in make_fake_analysis(2)(path, given, estimator):
            yield event

    with Client(address) as client:
        job = await asyncio.to_thread(client.submit, clip, options)
        async with env.running_worker(analyse):
            await env.wait_for_end(job.id)

    assert job.choices == options
    assert received == [
        domain.AnalysisOptions(faces=domain.FaceSelection.ALL, video_stream=1, audio_stream=0)
    ]


async def test_a_model_is_chosen_among_those_listed(
    address: str, env: JobEnvironment, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fake_estimator(env.settings.model_repository, version=2, domain="drawn")
    with Client(address) as client:
        models = await asyncio.to_thread(client.models)
        newest = await asyncio.to_thread(client.model, "mini@2")
        async with env.running_worker(make_fake_analysis(3)):
            result = await asyncio.to_thread(client.annotate, clip, model="mini@1")
        with pytest.raises(RequestRefused) as refused:
            await asyncio.to_thread(client.submit, clip, model="paper")
        with pytest.raises(RequestRefused) as unknown:
            await asyncio.to_thread(client.model, "../jobs")
    assert await asyncio.to_thread(main, ["models", "--url", address]) == 0

    assert [(each.id, each.is_default) for each in models] == [("mini@2", True), ("mini@1", False)]
    assert (newest.domain, newest.versions) == ("drawn", ["mini@1", "mini@2"])
    assert (result.model, result.domain) == ("mini@1", None)
    assert refused.value.problem.code == "model_unknown"
    assert unknown.value.problem.code == "route_unknown"
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[:4] for line in lines] == [
        ["mini@2", "default", "ready", "drawn"],
        ["mini@1", "", "ready", ""],
    ]
    assert lines[0][4] == newest.summary


async def test_failed_job_raises_its_problem(address: str, env: JobEnvironment, clip: Path) -> None:
    with Client(address) as client:
        async with env.running_worker(make_failing_analysis(ClipNotMedia("a text file"))):
            with pytest.raises(JobFailed, match="a text file") as raised:
                await asyncio.to_thread(client.annotate, clip)

    assert raised.value.problem.code == "clip_not_media"


async def test_oversized_clip_is_reported(address: str, env: JobEnvironment, clip: Path) -> None:
    content = bytes(env.settings.max_upload_bytes + 1)
    await asyncio.to_thread(clip.write_bytes, content)
    with Client(address) as client, pytest.raises(RequestRefused) as raised:
        await asyncio.to_thread(client.submit, clip)

    assert raised.value.problem.code == "clip_too_large"


async def test_wait_times_out(address: str, env: JobEnvironment) -> None:
    job_id = await env.submit()
    with Client(address) as client, pytest.raises(WaitTimedOut):
        await asyncio.to_thread(client.wait, job_id, timeout_seconds=0.3)


def test_absent_gateway_is_unreachable(clip: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, retry_timeout_seconds=0) as client:
        with pytest.raises(ServiceUnreachable, match=re.escape(url)):
            client.submit(clip)
        with pytest.raises(ServiceUnreachable, match=re.escape(url)):
            client.save("some-job", clip)


async def test_problem_message_is_not_repeated(address: str, clip: Path) -> None:
    await asyncio.to_thread(clip.write_bytes, b"")
    with Client(address) as client:
        with pytest.raises(RequestRefused) as plain:
            await asyncio.to_thread(client.submit, clip)
        with pytest.raises(RequestRefused) as detailed:
            await asyncio.to_thread(client.job, "what")

    assert str(plain.value) == "The clip has no bytes [clip_empty]"
    expected = "There is no job with this id: 'what' is no job id [job_unknown]"
    assert str(detailed.value) == expected


async def test_folder_is_annotated_once(
    address: str, env: JobEnvironment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    for name in ("a.mp4", "b/a.mp4", "b/a.MOV", "notes.txt"):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).write_bytes(b"clip")
    arguments = ["annotate", str(videos), "--url", address, "-o", str(out), "--model", "mini"]
    async with env.running_worker(make_fake_analysis(5)):
        assert await asyncio.to_thread(main, arguments) == 0
        assert await asyncio.to_thread(main, arguments) == 0

    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == ["a.mp4.csv", "b/a.MOV.csv", "b/a.mp4.csv"]
    assert (out / "a.mp4.csv").read_text().count("\n") == 6
    printed = capsys.readouterr().err
    assert "3 clips, 3 already done" in printed
    assert printed.count("Model mini@1, ") == 1
    assert len(env.list_stored_files("clips")) == 3


async def test_interrupted_batch_is_resumed(
    address: str,
    env: JobEnvironment,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    arguments = ["annotate", str(clip), "--url", address, "-o", str(out)]
    async with env.running_worker(make_failing_analysis(DecoderCrashed("no clip"))):
        assert await asyncio.to_thread(main, arguments) == 1
        assert await asyncio.to_thread(main, arguments) == 1
    assert "1 of 1 clips have no result" in capsys.readouterr().err
    (record,) = (await env.queue.read_page(JobFilter(owner=None), size=9)).jobs
    await env.queue.retry(record.id)
    await env.queue.cancel(record.id)

    async with env.running_worker(make_fake_analysis(5)):
        assert await asyncio.to_thread(main, arguments) == 0

    (record,) = (await env.queue.read_page(JobFilter(owner=None), size=9)).jobs
    assert (record.state, record.attempt) == ("succeeded", 2)
    assert (out / f"{clip.name}.csv").exists()


async def test_command_manages_jobs(
    address: str, env: JobEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = await env.submit(), await env.submit()

    async def run(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, [*arguments, "--url", address])
        return code, capsys.readouterr().out

    listed = await run("list")
    cancelled = await run("cancel", first, "unknown", second)
    queued = await run("list", "--state", "queued")
    retried = await run("retry", first)
    deleted = await run("delete", second)
    remaining = await run("list")

    assert [line.split("\t")[0] for line in listed[1].splitlines()] == [second, first]
    assert cancelled == (1, f"{first} cancelled\n{second} cancelled\n")
    assert queued == (0, "")
    assert retried == (0, f"{first} queued\n")
    assert deleted == (0, f"{second} deleted\n")
    assert [line.split("\t")[:2] for line in remaining[1].splitlines()] == [[first, "queued"]]


async def test_events_are_followed_over_a_lost_connection(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    job_id = await env.submit()
    port = free_port()
    kinds: list[str | None] = []

    def follow() -> None:
        with Client(f"http://127.0.0.1:{port}") as client:
            kinds.extend(event.state for event in client.events(job_id) if event.kind == "state")

    following = asyncio.create_task(asyncio.to_thread(follow))
    async with serving(create_app(replace(gateway, shutdown=ShutdownState())), port):
        await eventually(lambda: _is_state_received(kinds))
    async with (
        serving(create_app(replace(gateway, shutdown=ShutdownState())), port),
        env.running_worker(make_fake_analysis(3)),
    ):
        await asyncio.wait_for(following, 60)

    assert kinds == ["queued", "running", "succeeded"]


async def _is_state_received(kinds: list[str | None]) -> bool | None:
    return bool(kinds) or None


async def test_submission_is_repeated_until_it_succeeds_and_creates_one_job(
    gateway: GatewayContext, env: JobEnvironment, clip: Path
) -> None:
    port = free_port()

    def submit() -> Job:
        with Client(f"http://127.0.0.1:{port}", retry_timeout_seconds=60) as client:
            return client.submit(clip)

    attempted = asyncio.Event()

    async def drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        attempted.set()

    async with await asyncio.start_server(drop, "127.0.0.1", port):
        submitting = asyncio.create_task(asyncio.to_thread(submit))
        await asyncio.wait_for(attempted.wait(), 60)
    async with serving(create_app(gateway), port):
        job = await asyncio.wait_for(submitting, 60)

    page = await env.queue.read_page(JobFilter(owner=None), size=9)
    assert [job.id] == [record.id for record in page.jobs]


def test_clips_of_the_same_name_never_overwrite_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [tmp_path / "monday" / "a.mp4", tmp_path / "tuesday" / "a.mp4"]
    assert main(["annotate", *map(str, clips), "-o", str(tmp_path / "out")]) == 2
    assert "same name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
