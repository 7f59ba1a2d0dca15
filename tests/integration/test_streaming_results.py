"""Final results of streams: equal to those of a job, however the media are cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from circumplex.v1 import annotation_pb2 as wire

from service.domain.estimator import EstimatorId
from service.domain.model_signatures import LIVE_WINDOW_FRAMES
from service.embedded.triton import TritonPorts
from service.errors import ClipNotMedia
from service.estimators.repository import EstimatorRepository
from service.settings import YARDSTICK, Settings
from tests.integration.servers import RedisServer
from tests.integration.streaming_environment import (
    StreamingEnvironment,
    collect_final_results,
    make_container_requests,
    make_frame_requests,
    open_streaming_environment,
)
from tests.media_corpus.ffmpeg_reference import run_ffmpeg
from tests.unit.streaming.stream_harness import annotate_messages
from training.export import ExportTarget, export_untrained
from training.presets import MINI
from training.synthetic.clip import render_demo_clip

OTHER = EstimatorId("other", 1)
OTHER_CLASSES = ["angry", "happy"]
CLIP_SECONDS = 5.2
TOLERANCE = 1e-5
"""Rounding of the backbones depends on the number of crops in a call."""
FFMPEG_OPTIONS = {
    "fragmented.mp4": "-c copy -movflags frag_keyframe+empty_moov+default_base_moof",
    "live.ts": "-c copy",
    "live.webm": "-c:v libvpx -b:v 800k -deadline realtime -c:a libopus -f webm -live 1",
    "live.mkv": "-c copy",
}
MOTION_JPEG_OPTIONS = "-c:v mjpeg -q:v 3 -c:a pcm_s16le -ar 44100 -ac 2"


@pytest.fixture(scope="module")
async def streaming_env(
    triton_server: TritonPorts,
    triton_dir: Path,
    mini_repository: Path,
    redis_server: RedisServer,
) -> AsyncIterator[StreamingEnvironment]:
    settings = Settings(
        models=f"{YARDSTICK}, {OTHER.name}",
        model_repository=mini_repository,
        redis_url=redis_server.url,
        triton_url=triton_server.grpc_url,
        face_models_dir=triton_dir.parent / "faces",
        window_frames=60,
        hop_frames=40,
        max_streams=4,
    )
    async with open_streaming_environment(settings) as env:
        yield env


@pytest.fixture
async def other_model(triton_server: TritonPorts, mini_repository: Path) -> AsyncIterator[str]:
    """A second model, of other random weights and with classes, loaded beside the first."""
    export_untrained(MINI, ExportTarget(repository=mini_repository, estimator=OTHER), seed=1)
    repository = EstimatorRepository(mini_repository)
    manifest_file = repository.manifest_file(OTHER)
    document = json.loads(manifest_file.read_bytes())
    manifest_file.write_text(json.dumps(document | {"classes": OTHER_CLASSES}))
    slots = repository.read_manifest(OTHER).served_slots
    models = f"http://{triton_server.http_url}/v2/repository/models"
    async with httpx.AsyncClient(timeout=60.0) as client:
        for slot in slots:
            (await client.post(f"{models}/{OTHER.part_name(slot.name)}/load")).raise_for_status()
        yield OTHER.name
        for slot in reversed(slots):
            (await client.post(f"{models}/{OTHER.part_name(slot.name)}/unload")).raise_for_status()
    repository.remove(OTHER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    render_demo_clip(folder / "talk.mp4", seconds=CLIP_SECONDS, width=320, height=240)
    return folder


async def test_each_of_two_models_gives_a_stream_the_results_of_its_jobs(
    streaming_env: StreamingEnvironment, folder: Path, other_model: str
) -> None:
    run_ffmpeg("-i talk.mp4 -c copy two-models.mkv", folder=folder)
    clip = folder / "two-models.mkv"
    expected = {model: await streaming_env.run_job(clip, model) for model in ("mini", other_model)}

    async def annotate(model: str) -> list[wire.StreamingAnnotateResponse]:
        config, *media = make_container_requests(clip.read_bytes(), seed=3)
        config.config.model = model
        return await streaming_env.run_stream(config, *media)

    replies = dict(zip(expected, await asyncio.gather(*map(annotate, expected)), strict=True))

    for model, results in expected.items():
        assert replies[model][0].config_ack.model == f"{model}@1"
        finals = collect_final_results(replies[model])
        np.testing.assert_allclose(finals, results, rtol=0, atol=TOLERANCE)
        assert results.shape[1] == 7 + (len(OTHER_CLASSES) if model == other_model else 0)
    difference = np.abs(expected["mini"][:, 1:3] - expected[other_model][:, 1:3])
    assert np.nanmean(difference) > 100 * TOLERANCE


@pytest.mark.parametrize("name", FFMPEG_OPTIONS)
async def test_a_container_cut_anywhere_gives_a_jobs_result(
    streaming_env: StreamingEnvironment, folder: Path, name: str
) -> None:
    run_ffmpeg(f"-i talk.mp4 {FFMPEG_OPTIONS[name]} {name}", folder=folder)
    expected = await streaming_env.run_job(folder / name)
    assert len(expected) == round(CLIP_SECONDS * 25)
    content = (folder / name).read_bytes()
    replies = await streaming_env.run_stream(*make_container_requests(content, seed=len(name)))
    np.testing.assert_allclose(collect_final_results(replies), expected, rtol=0, atol=TOLERANCE)
    provisional = [r.frame_result.index for r in replies if r.HasField("frame_result")]
    assert len(provisional) == 2 * len(expected)
    assert replies[-1].summary.frames == len(expected)


async def test_frames_and_audio_give_the_same_result_as_a_file_of_them(
    streaming_env: StreamingEnvironment, folder: Path
) -> None:
    run_ffmpeg(f"-i talk.mp4 {MOTION_JPEG_OPTIONS} motion.mkv", folder=folder)
    expected = await streaming_env.run_job(folder / "motion.mkv")
    replies = await streaming_env.run_stream(*make_frame_requests(folder / "motion.mkv", seed=3))
    np.testing.assert_allclose(collect_final_results(replies), expected, rtol=0, atol=TOLERANCE)


async def test_a_provisional_result_equals_the_final_one_of_a_stream_that_ends_there(
    streaming_env: StreamingEnvironment,
) -> None:
    crops = np.random.default_rng(0).integers(
        0, 256, (LIVE_WINDOW_FRAMES, 112, 112, 3), dtype=np.uint8
    )
    media = wire.FrameMedia(encoding=wire.FRAME_ENCODING_FACE_CROP)

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield wire.StreamingAnnotateRequest(config=wire.StreamConfig(frames=media))
        for index, crop in enumerate(crops):
            if index == len(crops) - 1:
                await asyncio.sleep(1.0)  # until the audio of all frames before is embedded
            frame = wire.VideoFrame(time_seconds=index / 25, data=crop.tobytes())
            yield wire.StreamingAnnotateRequest(frame=frame)

    replies = [each async for each in annotate_messages(streaming_env.streams, requests())]
    results = [each.frame_result for each in replies if each.HasField("frame_result")]
    provisional, final = (
        next(r.tracks[0].estimate for r in reversed(results) if r.is_final is kind)
        for kind in (False, True)
    )
    estimator = await streaming_env.open_estimator()
    shifts = estimator.parameters.uncertainty.provisional
    for column, shift in zip(("valence", "arousal"), shifts, strict=True):
        assert getattr(provisional, column) == pytest.approx(getattr(final, column), abs=TOLERANCE)
        # Less is known of a frame while it is the newest one.
        ratio = getattr(provisional, f"{column}_std") / getattr(final, f"{column}_std")
        assert ratio == pytest.approx(np.exp(shift), abs=1e-3)


async def test_invalid_media_end_their_own_stream_with_a_typed_error(
    streaming_env: StreamingEnvironment,
) -> None:
    with pytest.raises(ClipNotMedia):
        await streaming_env.run_stream(
            *make_container_requests(b"no container at all" * 1000, seed=1)
        )


async def test_an_undecodable_frame_is_reported_and_the_stream_goes_on(
    streaming_env: StreamingEnvironment, folder: Path
) -> None:
    run_ffmpeg(f"-i talk.mp4 -t 1 {MOTION_JPEG_OPTIONS} short.mkv", folder=folder)
    requests = list(make_frame_requests(folder / "short.mkv", seed=5))
    frames = [r for r in requests if r.HasField("frame")]
    frames[3].frame.data = b"\xff\xd8 this is no picture"
    replies = await streaming_env.run_stream(*requests)
    drops = [r.frames_dropped for r in replies if r.HasField("frames_dropped")]
    assert [(d.first_index, d.count, d.reason) for d in drops] == [
        (3, 1, wire.DROP_REASON_UNREADABLE)
    ]
    finals = [r.frame_result.index for r in replies if r.frame_result.is_final]
    assert finals == [index for index in range(25) if index != 3]
