import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest
from circumplex.v1 import annotation_pb2 as wire

from service.errors import (
    ClipTooLong,
    GatewayDraining,
    RequestInvalid,
    StreamIdle,
    StreamOutOfOrder,
    StreamOverrun,
    StreamsFull,
)
from tests.unit.live.parts import Stage, config, frame, sent

StageOf = Callable[..., Stage]


async def replies_of(
    stage: Stage, *requests: wire.StreamingAnnotateRequest
) -> list[wire.StreamingAnnotateResponse]:
    return [reply async for reply in stage.annotate(sent(*requests))]


def results(
    replies: list[wire.StreamingAnnotateResponse], *, final: bool
) -> list[wire.FrameResult]:
    shown = [each.frame_result for each in replies if each.HasField("frame_result")]
    return [each for each in shown if each.is_final == final]


async def test_a_stream_is_acknowledged_answered_twice_a_frame_and_summed_up(
    stage_of: StageOf,
) -> None:
    replies = await replies_of(stage_of(), config(), *(frame(k) for k in range(100)))
    assert replies[0].config_ack.limits.buffered_results == 64
    for kind in (False, True):
        shown = results(replies, final=kind)
        assert [each.index for each in shown] == list(range(100))
        assert [each.time_seconds for each in shown] == [k / 25 for k in range(100)]
        valences = [round(each.tracks[0].estimate.valence * 255) for each in shown]
        assert valences == list(range(100))
    summary = replies[-1].summary
    assert (summary.frames, summary.primary_track) == (100, 1)
    assert 0 < summary.latency.p50_seconds <= summary.latency.p99_seconds


async def test_finals_do_not_wait_for_the_end(stage_of: StageOf) -> None:
    stage = stage_of(smoothing_seconds=0)
    gate = asyncio.Event()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config()
        for k in range(48):
            yield frame(k)
        await gate.wait()

    finals: list[int] = []
    async for reply in stage.annotate(requests()):
        if reply.frame_result.is_final:
            finals.append(reply.frame_result.index)
            if finals[-1] == 19:
                gate.set()
    assert finals == list(range(48))


async def test_provisional_results_come_before_the_next_frame_is_sent(stage_of: StageOf) -> None:
    stage = stage_of()
    answered: asyncio.Queue[int] = asyncio.Queue()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config()
        for k in range(5):
            yield frame(k)
            assert await answered.get() == k

    async for reply in stage.annotate(requests()):
        if reply.HasField("frame_result") and not reply.frame_result.is_final:
            answered.put_nowait(reply.frame_result.index)


async def test_only_finals_where_only_they_are_wanted(stage_of: StageOf) -> None:
    replies = await replies_of(
        stage_of(), config(final_results_only=True), *(frame(k) for k in range(30))
    )
    assert results(replies, final=False) == []
    assert len(results(replies, final=True)) == 30


async def test_a_frame_without_a_face_says_why_and_the_track_is_carried(stage_of: StageOf) -> None:
    replies = await replies_of(
        stage_of(), config(), frame(0, face=False), frame(7), frame(8, face=False)
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
        ([frame(0)], StreamOutOfOrder),
        ([config(), config()], StreamOutOfOrder),
        ([config(), wire.StreamingAnnotateRequest()], StreamOutOfOrder),
        (
            [config(), wire.StreamingAnnotateRequest(container=wire.ContainerChunk(data=b"a"))],
            StreamOutOfOrder,
        ),
        (
            [config(), wire.StreamingAnnotateRequest(audio=wire.AudioChunk(data=b"a"))],
            StreamOutOfOrder,
        ),
        ([config(), frame(1), frame(1)], RequestInvalid),
        ([wire.StreamingAnnotateRequest(config=wire.StreamConfig())], RequestInvalid),
        (
            [
                config(),
                wire.StreamingAnnotateRequest(
                    frame=wire.VideoFrame(time_seconds=float("nan"), data=b"")
                ),
            ],
            RequestInvalid,
        ),
        (
            [config(), wire.StreamingAnnotateRequest(frame=wire.VideoFrame(data=b"abc"))],
            RequestInvalid,
        ),
    ],
)
async def test_what_cannot_be_is_refused_and_frees_everything(
    stage_of: StageOf, requests: list[wire.StreamingAnnotateRequest], error: type[Exception]
) -> None:
    stage = stage_of()
    with pytest.raises(error):
        await replies_of(stage, *requests)
    assert stage.children.open == 0
    assert stage.metrics.registry.get_sample_value("circumplex_streams") == 0


@pytest.mark.parametrize("final_results_only", [False, True])
async def test_a_slow_reader_costs_so_many_results_and_holds_its_sender_up(
    stage_of: StageOf, final_results_only: bool
) -> None:
    stage = stage_of(stream_unread_results=10, stream_queue_frames=4)
    taken = 0

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        nonlocal taken
        yield config(final_results_only=final_results_only)
        for k in range(400):
            taken = k
            yield frame(k, face=k != 255)

    async with aclosing(stage.annotate(requests())) as replies:
        await anext(replies)
        before = -1
        while before != taken:
            before = taken
            await asyncio.sleep(0.05)
        assert taken < (300 if final_results_only else 60)
        rest = [reply async for reply in replies]
    assert [each.index for each in results(rest, final=True)] == list(range(400))


async def test_drop_oldest_reports_every_frame_that_has_no_result(stage_of: StageOf) -> None:
    stage = stage_of(stream_queue_frames=4)
    stage.models.may_answer.clear()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config(overload_policy=wire.OVERLOAD_POLICY_DROP_OLDEST)
        for k in range(60):
            yield frame(k)
        stage.models.may_answer.set()

    replies = [reply async for reply in stage.annotate(requests())]
    drops = [each.frames_dropped for each in replies if each.HasField("frames_dropped")]
    dropped = [d.first_index + k for d in drops for k in range(d.count)]
    answered = [each.index for each in results(replies, final=True)]
    assert dropped
    assert sorted(dropped + answered) == list(range(60))
    assert replies[-1].summary.frames_dropped == len(dropped)
    assert [each.index for each in results(replies, final=False)] == answered


async def test_fail_ends_a_stream_that_is_too_fast(stage_of: StageOf) -> None:
    stage = stage_of(stream_queue_frames=4)
    stage.models.may_answer.clear()
    with pytest.raises(StreamOverrun):
        await replies_of(
            stage,
            config(overload_policy=wire.OVERLOAD_POLICY_FAIL),
            *(frame(k) for k in range(60)),
        )


async def test_a_silent_stream_is_ended(stage_of: StageOf) -> None:
    stage = stage_of(stream_idle_seconds=0.05)
    never = asyncio.Event()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config()
        await never.wait()

    with pytest.raises(StreamIdle):
        async for _ in stage.annotate(requests()):
            pass


async def test_one_stream_too_many_is_refused_and_says_when_to_come_back(stage_of: StageOf) -> None:
    stage = stage_of(max_streams=1)
    never = asyncio.Event()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config()
        await never.wait()

    async with aclosing(stage.annotate(requests())) as replies:
        await anext(replies)
        with pytest.raises(StreamsFull) as refusal:
            await replies_of(stage, config())
        assert refusal.value.retry_seconds
    assert stage.children.open == 0
    assert await replies_of(stage, config())


async def test_a_gateway_that_drains_sends_its_streams_away(stage_of: StageOf) -> None:
    stage = stage_of()
    never = asyncio.Event()

    async def requests() -> AsyncIterator[wire.StreamingAnnotateRequest]:
        yield config()
        await never.wait()

    async with aclosing(stage.annotate(requests())) as replies:
        await anext(replies)
        stage.streams.drain()
        with pytest.raises(GatewayDraining):
            async for _ in replies:
                pass
    with pytest.raises(GatewayDraining):
        await replies_of(stage, config())


async def test_sound_may_last_little_longer_than_a_stream(stage_of: StageOf) -> None:
    stage = stage_of(max_clip_seconds=1.0)
    audio = wire.AudioFormat(encoding=wire.SAMPLE_ENCODING_S16LE, sample_rate_hz=1000, channels=1)
    media = wire.FrameMedia(encoding=wire.FRAME_ENCODING_FACE_CROP, audio=audio)
    first = wire.StreamingAnnotateRequest(config=wire.StreamConfig(frames=media))
    minute = wire.StreamingAnnotateRequest(audio=wire.AudioChunk(data=bytes(2 * 60_000)))
    await replies_of(stage, first, frame(0), minute)
    with pytest.raises(ClipTooLong):
        await replies_of(stage, first, frame(0), minute, minute)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (wire.StreamConfig(), "config.media"),
        (wire.StreamConfig(container=wire.ContainerMedia(), faces=9), "config.faces"),
        (
            wire.StreamConfig(container=wire.ContainerMedia(), overload_policy=2),
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
async def test_a_config_that_cannot_be_is_refused_by_its_field(
    stage_of: StageOf, said: wire.StreamConfig, field: str
) -> None:
    with pytest.raises(RequestInvalid) as refusal:
        await replies_of(stage_of(), wire.StreamingAnnotateRequest(config=said))
    assert refusal.value.field == field
