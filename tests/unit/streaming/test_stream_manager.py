"""Streams from the config to the summary: results, refusals, overload, limits."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, cast

import pytest
from circumplex.v1 import annotation_pb2 as wire

from service.domain.array_types import Float32Array
from service.errors import (
    ClipTooLong,
    GatewayDraining,
    RequestInvalid,
    StreamIdle,
    StreamOutOfOrder,
    StreamOverrun,
    TooManyStreams,
)
from tests.unit.streaming.stream_harness import (
    CLASSES,
    StreamHarness,
    config_request,
    frame_request,
    iterate_requests,
)

HarnessFactory = Callable[..., StreamHarness]
UNKNOWN_FACES = cast(wire.Faces, 9)


async def collect_replies(
    harness: StreamHarness, *requests: wire.StreamingAnnotateRequest
) -> list[wire.StreamingAnnotateResponse]:
    return [reply async for reply in harness.annotate(iterate_requests(*requests))]


async def until_unchanged(count: Callable[[], int]) -> None:
    """Wait until a growing count has stopped."""
    before = -1
    while before != count():
        before = count()
        await asyncio.sleep(0.05)


def results(
    replies: list[wire.StreamingAnnotateResponse], *, final: bool
) -> list[wire.FrameResult]:
    all_results = [each.frame_result for each in replies if each.HasField("frame_result")]
    return [each for each in all_results if each.is_final == final]


async def test_a_stream_has_an_ack_two_results_per_frame_and_a_summary(
    make_harness: HarnessFactory,
) -> None:
    replies = await collect_replies(
        make_harness(), config_request(), *(frame_request(k) for k in range(100))
    )
    assert replies[0].config_ack.limits.buffered_results == 64
    for kind in (False, True):
        of_kind = results(replies, final=kind)
        assert [each.index for each in of_kind] == list(range(100))
        assert [each.time_seconds for each in of_kind] == [k / 25 for k in range(100)]
        valences = [round(each.tracks[0].estimate.valence * 255) for each in of_kind]
        assert valences == list(range(100))
    summary = replies[-1].summary
    assert (summary.frames, summary.primary_track) == (100, 1)
    assert 0 < summary.latency.p50_seconds <= summary.latency.p99_seconds


async def test_class_probabilities_are_those_of_the_frame_and_absent_without_a_face(
    make_harness: HarnessFactory,
) -> None:
    frames = [frame_request(k, face=k not in (0, 3)) for k in range(60)]
    replies = await collect_replies(make_harness(), config_request(), *frames)
    assert list(replies[0].config_ack.classes) == list(CLASSES)
    for kind in (False, True):
        rows = [
            [round(each * 255) for each in result.tracks[0].class_probabilities]
            for result in results(replies, final=kind)
            if result.tracks
        ]
        expected = [[k] * len(CLASSES) if k != 3 else [] for k in range(1, 60)]
        assert rows[-59:] == expected


async def test_summary_names_the_modalities_that_the_stream_had(
    make_harness: HarnessFactory,
) -> None:
    for face, used in ((True, ["face"]), (False, [])):  # no audio was read
        frames = [frame_request(k, face=face) for k in range(20)]
        replies = await collect_replies(make_harness(), config_request(), *frames)
        assert list(replies[-1].summary.modalities_used) == used


async def test_results_of_streams_are_timed_by_model(make_harness: HarnessFactory) -> None:
    harness = make_harness()
    await collect_replies(harness, config_request(), *(frame_request(k) for k in range(20)))
    read = harness.metrics.registry.get_sample_value
    for kind in ("provisional", "final"):
        labels = {"kind": kind, "model": "mini@1"}
        assert read("circumplex_stream_frame_latency_seconds_count", labels) == 20
    assert read("circumplex_frames_total", {"face": "found", "model": "mini@1"}) == 20


async def test_final_results_are_sent_before_the_stream_ends(make_harness: HarnessFactory) -> None:
    harness = make_harness(smoothing_seconds=0)
    end = asyncio.Event()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config_request()
        for k in range(48):
            yield frame_request(k)
        await end.wait()

    finals: list[int] = []
    async for reply in harness.annotate(requests()):
        if reply.frame_result.is_final:
            finals.append(reply.frame_result.index)
            if finals[-1] == 19:
                end.set()
    assert finals == list(range(48))


async def test_final_results_are_estimated_for_one_stream_at_a_time(
    make_harness: HarnessFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = make_harness()
    fuse, running, peak = harness.models.fuse, 0, 0

    async def fuse_slowly(*arrays: Any) -> tuple[Float32Array, Float32Array]:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.01)
        running -= 1
        return await fuse(*arrays)

    monkeypatch.setattr(harness.models, "fuse", fuse_slowly)
    requests = (config_request(), *(frame_request(k) for k in range(100)))
    replies = await asyncio.gather(*(collect_replies(harness, *requests) for _ in range(3)))
    assert all(len(results(each, final=True)) == 100 for each in replies)
    assert peak == 1


async def test_provisional_results_come_before_the_next_frame_is_sent(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness()
    answered_frames: asyncio.Queue[int] = asyncio.Queue()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config_request()
        for k in range(5):
            yield frame_request(k)
            assert await answered_frames.get() == k

    async for reply in harness.annotate(requests()):
        if reply.HasField("frame_result") and not reply.frame_result.is_final:
            answered_frames.put_nowait(reply.frame_result.index)


async def test_finals_only_streams_have_no_provisional_results(
    make_harness: HarnessFactory,
) -> None:
    replies = await collect_replies(
        make_harness(),
        config_request(final_results_only=True),
        *(frame_request(k) for k in range(30)),
    )
    assert results(replies, final=False) == []
    assert len(results(replies, final=True)) == 30


async def test_frame_without_a_face_is_marked_and_filled_forward(
    make_harness: HarnessFactory,
) -> None:
    replies = await collect_replies(
        make_harness(),
        config_request(),
        frame_request(0, face=False),
        frame_request(7),
        frame_request(8, face=False),
    )
    for kind in (False, True):
        first, second, third = results(replies, final=kind)
        for track in first.tracks:
            assert not track.HasField("estimate")
        assert first.tracks or first.missing_reason == wire.MISSING_REASON_FACE_NOT_FOUND
        assert second.tracks[0].HasField("box")
        assert third.tracks[0].missing_reason == wire.MISSING_REASON_FACE_NOT_FOUND
        assert round(third.tracks[0].estimate.valence * 255) == 7


@pytest.mark.parametrize(
    ("requests", "error"),
    [
        ([], StreamOutOfOrder),
        ([frame_request(0)], StreamOutOfOrder),
        ([config_request(), config_request()], StreamOutOfOrder),
        ([config_request(), wire.StreamingAnnotateRequest()], StreamOutOfOrder),
        (
            [
                config_request(),
                wire.StreamingAnnotateRequest(container=wire.ContainerChunk(data=b"a")),
            ],
            StreamOutOfOrder,
        ),
        (
            [config_request(), wire.StreamingAnnotateRequest(audio=wire.AudioChunk(data=b"a"))],
            StreamOutOfOrder,
        ),
        ([config_request(), frame_request(1), frame_request(1)], RequestInvalid),
        ([wire.StreamingAnnotateRequest(config=wire.StreamConfig())], RequestInvalid),
        (
            [
                config_request(),
                wire.StreamingAnnotateRequest(
                    frame=wire.VideoFrame(time_seconds=float("nan"), data=b"")
                ),
            ],
            RequestInvalid,
        ),
        (
            [config_request(), wire.StreamingAnnotateRequest(frame=wire.VideoFrame(data=b"abc"))],
            RequestInvalid,
        ),
    ],
)
async def test_invalid_request_sequence_is_refused_and_frees_resources(
    make_harness: HarnessFactory,
    requests: list[wire.StreamingAnnotateRequest],
    error: type[Exception],
) -> None:
    harness = make_harness()
    with pytest.raises(error):
        await collect_replies(harness, *requests)
    assert harness.extractor.open_count == 0
    (streams,) = harness.metrics.streams.collect()
    assert {sample.value for sample in streams.samples} <= {0}


@pytest.mark.parametrize("final_results_only", [False, True])
async def test_slow_reader_bounds_buffered_results_and_blocks_the_sender(
    make_harness: HarnessFactory, final_results_only: bool
) -> None:
    harness = make_harness(stream_unread_results=10, stream_queue_frames=4)
    frames, last_requested = 2000, 0

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        nonlocal last_requested
        yield config_request(final_results_only=final_results_only)
        for k in range(frames):
            last_requested = k
            yield frame_request(k, face=k % 256 != 255)

    async with aclosing(harness.annotate(requests())) as replies:
        await anext(replies)
        await until_unchanged(lambda: last_requested)
        # final results come later: how much later depends on the speed of the machine
        assert last_requested < (frames // 2 if final_results_only else 60)
        rest = [reply async for reply in replies]
    assert [each.index for each in results(rest, final=True)] == list(range(frames))


async def test_drop_oldest_reports_every_frame_that_has_no_result(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness(stream_queue_frames=4)
    harness.models.replies_allowed.clear()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config_request(overload_policy=wire.OVERLOAD_POLICY_DROP_OLDEST)
        for k in range(60):
            yield frame_request(k)
        harness.models.replies_allowed.set()

    replies = [reply async for reply in harness.annotate(requests())]
    drops = [each.frames_dropped for each in replies if each.HasField("frames_dropped")]
    dropped = [d.first_index + k for d in drops for k in range(d.count)]
    answered_frames = [each.index for each in results(replies, final=True)]
    assert dropped
    assert sorted(dropped + answered_frames) == list(range(60))
    assert replies[-1].summary.frames_dropped == len(dropped)
    assert [each.index for each in results(replies, final=False)] == answered_frames


async def test_fail_policy_ends_a_stream_that_is_too_fast(make_harness: HarnessFactory) -> None:
    harness = make_harness(stream_queue_frames=4)
    harness.models.replies_allowed.clear()
    with pytest.raises(StreamOverrun):
        await collect_replies(
            harness,
            config_request(overload_policy=wire.OVERLOAD_POLICY_FAIL),
            *(frame_request(k) for k in range(60)),
        )


async def test_idle_stream_is_ended(make_harness: HarnessFactory) -> None:
    harness = make_harness(stream_idle_seconds=0.05)
    never = asyncio.Event()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config_request()
        await never.wait()

    with pytest.raises(StreamIdle):
        async for _ in harness.annotate(requests()):
            pass


@pytest.mark.parametrize("empty_chunks", [0, 10**6])
async def test_a_stream_that_never_sends_media_is_ended_early(
    make_harness: HarnessFactory, empty_chunks: int
) -> None:
    """Messages without media do not keep it open."""
    harness = make_harness(stream_first_frame_seconds=0.2)
    never = asyncio.Event()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        media = wire.ContainerMedia()
        yield wire.StreamingAnnotateRequest(config=wire.StreamConfig(container=media))
        for _ in range(empty_chunks):
            await asyncio.sleep(0.01)
            yield wire.StreamingAnnotateRequest(container=wire.ContainerChunk(data=b""))
        await never.wait()

    with pytest.raises(StreamIdle, match="no frame"):
        async for _ in harness.annotate(requests()):
            pass


async def test_a_stream_with_a_frame_may_be_silent_for_longer(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness(stream_first_frame_seconds=0.2, stream_idle_seconds=0.6)
    never = asyncio.Event()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config_request()
        yield frame_request(0)
        await never.wait()

    started = asyncio.get_running_loop().time()
    with pytest.raises(StreamIdle, match="no message"):
        async for _ in harness.annotate(requests()):
            pass
    assert asyncio.get_running_loop().time() - started >= 0.6


async def test_stream_over_the_limit_is_refused_with_retry_after(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness(max_streams=1)
    never = asyncio.Event()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config_request()
        await never.wait()

    async with aclosing(harness.annotate(requests())) as replies:
        await anext(replies)
        with pytest.raises(TooManyStreams) as refusal:
            await collect_replies(harness, config_request())
        assert refusal.value.retry_seconds
    assert harness.extractor.open_count == 0
    assert await collect_replies(harness, config_request())


async def test_draining_gateway_ends_its_streams(make_harness: HarnessFactory) -> None:
    harness = make_harness()
    never = asyncio.Event()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config_request()
        await never.wait()

    async with aclosing(harness.annotate(requests())) as replies:
        await anext(replies)
        harness.streams.drain()
        with pytest.raises(GatewayDraining):
            async for _ in replies:
                pass
    with pytest.raises(GatewayDraining):
        await collect_replies(harness, config_request())


async def test_audio_longer_than_the_stream_limit_is_refused(make_harness: HarnessFactory) -> None:
    harness = make_harness(max_clip_seconds=1.0)
    audio = wire.AudioFormat(encoding=wire.SAMPLE_ENCODING_S16LE, sample_rate_hz=1000, channels=1)
    media = wire.FrameMedia(encoding=wire.FRAME_ENCODING_FACE_CROP, audio=audio)
    first = wire.StreamingAnnotateRequest(config=wire.StreamConfig(frames=media))
    minute = wire.StreamingAnnotateRequest(audio=wire.AudioChunk(data=bytes(2 * 60_000)))
    await collect_replies(harness, first, frame_request(0), minute)
    with pytest.raises(ClipTooLong):
        await collect_replies(harness, first, frame_request(0), minute, minute)


@pytest.mark.parametrize(
    ("stream_config", "field"),
    [
        (wire.StreamConfig(), "config.media"),
        (wire.StreamConfig(container=wire.ContainerMedia(), faces=UNKNOWN_FACES), "config.faces"),
        (
            wire.StreamConfig(
                container=wire.ContainerMedia(), overload_policy=wire.OVERLOAD_POLICY_DROP_OLDEST
            ),
            "config.overload_policy",
        ),
        (
            wire.StreamConfig(
                frames=wire.FrameMedia(
                    encoding=wire.FRAME_ENCODING_JPEG,
                    audio=wire.AudioFormat(encoding=wire.SAMPLE_ENCODING_S16LE),
                )
            ),
            "config.frames.audio.sample_rate_hz",
        ),
    ],
)
async def test_invalid_config_is_refused_with_its_field_name(
    make_harness: HarnessFactory, stream_config: wire.StreamConfig, field: str
) -> None:
    with pytest.raises(RequestInvalid) as refusal:
        await collect_replies(make_harness(), wire.StreamingAnnotateRequest(config=stream_config))
    assert refusal.value.field == field
