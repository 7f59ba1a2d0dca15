"""Python client of streams: results, reconnections, errors."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import replace

import pytest
from circumplex_client import (
    ClientError,
    InvalidMedia,
    RequestRefused,
    ServiceFailed,
    ServiceUnreachable,
)
from circumplex_client.live import (
    AudioChunk,
    Box,
    ContainerChunk,
    FrameResult,
    ImageFrame,
    LiveClient,
    LiveResult,
    LiveStreamOptions,
    MediaChunk,
    StreamAccepted,
    StreamSummary,
)
from grpc import StatusCode

from tests.integration.fake_media import (
    CONTAINER_OPTIONS,
    FRAME_COUNT,
    FRAME_OPTIONS,
    expected_audio_flag,
    expected_valences,
    iterate_slowly,
    make_container,
    make_frames,
    valences_by_index,
)
from tests.integration.flaky_proxy import FlakyProxy, running_proxy
from tests.integration.job_environment import eventually
from tests.integration.servers import free_port
from tests.integration.stub_gateway import (
    StubAnnotationServicer,
    make_error_status,
    serving_streams,
)


async def annotate(
    port: int,
    media: AsyncIterable[MediaChunk],
    options: LiveStreamOptions = FRAME_OPTIONS,
    *,
    breaks: list[tuple[ClientError, float]] | None = None,
    accepted: list[StreamAccepted] | None = None,
    retry_seconds: float = 60.0,
) -> list[LiveResult]:
    """Annotate a stream, buffering a few kB of media; returns all results."""
    live = LiveClient(
        f"127.0.0.1:{port}",
        api_key="cpx_secret",
        memory_bytes=9_000,
        retry_timeout_seconds=retry_seconds,
    )
    interruptions = [] if breaks is None else breaks
    acceptances = [] if accepted is None else accepted
    async with live:
        results = live.annotate(
            media,
            options,
            on_accepted=acceptances.append,
            on_interrupted=lambda error, seconds: interruptions.append((error, seconds)),
        )
        return [result async for result in results]


async def test_a_stream_yields_provisional_and_final_results_and_a_summary() -> None:
    pieces, servicer, accepted = make_frames(), StubAnnotationServicer(), list[StreamAccepted]()
    async with serving_streams(servicer) as port:
        results = await annotate(port, iterate_slowly(pieces), accepted=accepted)

    expected = dict(enumerate(expected_valences(pieces)))
    assert valences_by_index(results, final=True) == expected
    assert valences_by_index(results, final=False) == expected
    first, last = results[0], results[-1]
    assert isinstance(first, FrameResult)
    assert first.tracks[0].box == Box(left=1, top=2, width=3, height=4, score=0.9)
    assert isinstance(last, StreamSummary)
    assert (last.frames, last.flags) == (FRAME_COUNT, expected_audio_flag(pieces))
    assert (last.primary_track, last.latency) == (None, None)
    assert [each.stream_id for each in accepted] == ["stream0"]
    assert accepted[0].limits.buffered_results == 64
    assert servicer.metadata[0]["authorization"] == "Bearer cpx_secret"


@pytest.mark.parametrize(
    "keeps_stream_state", [True, False], ids=["same_gateway", "another_gateway"]
)
@pytest.mark.parametrize(
    ("options", "pieces"),
    [(FRAME_OPTIONS, make_frames()), (CONTAINER_OPTIONS, make_container())],
    ids=["frames", "container"],
)
async def test_cut_connections_leave_no_gap_and_no_repetition(
    options: LiveStreamOptions, pieces: list[MediaChunk], keeps_stream_state: bool
) -> None:
    chance = random.Random(4)
    limits = iter([chance.choice([100, 3_000, 12_000, 30_000]) for _ in range(6)])
    breaks: list[tuple[ClientError, float]] = []
    async with serving_streams(
        StubAnnotationServicer(keeps_stream_state=keeps_stream_state)
    ) as port:
        proxy = FlakyProxy(port, limits)
        async with running_proxy(proxy) as proxy_port:
            results = await annotate(proxy_port, iterate_slowly(pieces), options, breaks=breaks)

    assert len(breaks) >= 3
    assert all(isinstance(error, ServiceUnreachable) for error, _ in breaks)
    finals, provisional = (
        valences_by_index(results, final=True),
        valences_by_index(results, final=False),
    )
    assert list(finals) == list(range(FRAME_COUNT))
    assert list(finals.values()) == expected_valences(pieces)
    assert list(provisional) == sorted(provisional)
    assert isinstance(results[-1], StreamSummary)
    assert results[-1].flags == expected_audio_flag(pieces)


async def test_a_drained_stream_resumes_at_another_gateway() -> None:
    pieces, servicer = make_frames(), StubAnnotationServicer(keeps_stream_state=False)
    servicer.drain_at = 40
    breaks: list[tuple[ClientError, float]] = []
    async with serving_streams(servicer) as port:
        results = await annotate(port, iterate_slowly(pieces), breaks=breaks)

    assert list(valences_by_index(results, final=True).values()) == expected_valences(pieces)
    (error, _), *others = breaks
    assert isinstance(error, ServiceFailed)
    assert (error.problem.code, others) == ("gateway_draining", [])
    assert [bool(config.resume_token) for config in servicer.configs] == [False, True]


async def test_a_full_gateway_is_retried_after_its_delay() -> None:
    servicer, breaks = StubAnnotationServicer(), list[tuple[ClientError, float]]()
    servicer.next_errors = [make_error_status(StatusCode.RESOURCE_EXHAUSTED, "streams_full", 0.3)]
    pieces = make_frames(10)
    async with serving_streams(servicer) as port:
        results = await annotate(port, iterate_slowly(pieces), breaks=breaks)

    assert list(valences_by_index(results, final=True).values()) == expected_valences(pieces)
    ((_, seconds),) = breaks
    assert seconds >= 0.3


@pytest.mark.parametrize(
    ("code", "reason", "retry_seconds"),
    [
        (StatusCode.UNAUTHENTICATED, "unauthenticated", None),
        (StatusCode.INVALID_ARGUMENT, "clip_not_media", None),
        (StatusCode.RESOURCE_EXHAUSTED, "stream_overrun", 0.1),
    ],
)
async def test_a_permanent_error_is_raised_at_once(
    code: StatusCode, reason: str, retry_seconds: float | None
) -> None:
    servicer = StubAnnotationServicer()
    servicer.next_errors = [make_error_status(code, reason, retry_seconds)]
    async with serving_streams(servicer) as port:
        with pytest.raises(RequestRefused) as raised:
            await annotate(port, iterate_slowly(make_frames()))

    assert str(raised.value) == f"It cannot be: because of {reason} [{reason}]"
    assert raised.value.problem.trace_id == "0af7"
    assert len(servicer.configs) == 1


async def test_responses_are_received_while_media_are_sent() -> None:
    async def flood() -> AsyncGenerator[MediaChunk]:
        for index in range(2000):
            yield ImageFrame(index / 25, bytes(2**14))

    servicer = StubAnnotationServicer()
    servicer.fail_at = 5
    async with serving_streams(servicer) as port:
        for _ in range(20):
            with pytest.raises(RequestRefused) as raised:
                await annotate(port, flood())
            assert raised.value.problem.code == "request_invalid"

    assert len(servicer.configs) == 20


async def test_a_lost_stream_restarts_if_all_media_are_buffered() -> None:
    pieces, servicer = make_container(), StubAnnotationServicer()
    servicer.drain_at = 40
    expired = make_error_status(StatusCode.NOT_FOUND, "stream_gone")
    async with serving_streams(servicer) as port, LiveClient(f"127.0.0.1:{port}") as live:
        results = [
            result
            async for result in live.annotate(
                iterate_slowly(pieces),
                CONTAINER_OPTIONS,
                on_interrupted=lambda _error, _seconds: servicer.next_errors.append(expired),
            )
        ]

    assert list(valences_by_index(results, final=True).values()) == expected_valences(pieces)
    assert [bool(config.resume_token) for config in servicer.configs] == [False, True, False]


async def test_a_stream_that_begins_anew_keeps_the_version_of_its_model() -> None:
    servicer = StubAnnotationServicer()
    servicer.model, servicer.drain_at = "net@1", 40
    expired = make_error_status(StatusCode.NOT_FOUND, "stream_gone")
    accepted: list[StreamAccepted] = []

    def upgrade(_error: ClientError, _seconds: float) -> None:
        servicer.model = "net@2"
        servicer.next_errors.append(expired)

    async with serving_streams(servicer) as port, LiveClient(f"127.0.0.1:{port}") as live:
        async for _ in live.annotate(
            iterate_slowly(make_container()),
            replace(CONTAINER_OPTIONS, model="net"),
            on_accepted=accepted.append,
            on_interrupted=upgrade,
        ):
            pass

    assert accepted[0].model == "net@1"
    assert [config.model for config in servicer.configs] == ["net", "net@1", "net@1"]


async def test_a_choice_that_an_older_gateway_ignores_is_an_error() -> None:
    options = replace(FRAME_OPTIONS, model="net")
    async with serving_streams(StubAnnotationServicer()) as port:
        with pytest.raises(RequestRefused, match="older version") as raised:
            await annotate(port, iterate_slowly(make_frames()), options)
    assert raised.value.problem.code == "model_unknown"


async def test_a_lost_stream_is_an_error_once_media_were_released() -> None:
    servicer = StubAnnotationServicer()
    servicer.drain_at = 40
    expired = make_error_status(StatusCode.NOT_FOUND, "stream_gone")
    async with serving_streams(servicer) as port, LiveClient(f"127.0.0.1:{port}") as live:
        with pytest.raises(RequestRefused) as raised:
            async for _ in live.annotate(
                iterate_slowly(make_frames()),
                FRAME_OPTIONS,
                on_interrupted=lambda _error, _seconds: servicer.next_errors.append(expired),
            ):
                pass

    assert raised.value.problem.code == "stream_gone"


async def test_an_absent_gateway_is_unreachable_after_the_retry_time() -> None:
    port = free_port()
    with pytest.raises(ServiceUnreachable, match=f"127.0.0.1:{port}"):
        await annotate(port, iterate_slowly(make_frames()), retry_seconds=0.5)


async def test_an_error_of_the_media_source_is_raised() -> None:
    async def broken() -> AsyncGenerator[MediaChunk]:
        yield ImageFrame(0.0, b"picture")
        raise OSError("the camera was unplugged")

    async with serving_streams(StubAnnotationServicer()) as port:
        with pytest.raises(OSError, match="the camera was unplugged"):
            await annotate(port, broken())


@pytest.mark.parametrize(
    "piece",
    [ContainerChunk(b"bytes"), AudioChunk(b"odd"), ImageFrame(0.0, bytes(2**16))],
    ids=["of another kind", "half a sample", "more than a message"],
)
async def test_a_chunk_that_does_not_fit_the_stream_is_refused(piece: MediaChunk) -> None:
    async with serving_streams(StubAnnotationServicer()) as port:
        with pytest.raises(InvalidMedia):
            await annotate(port, iterate_slowly([piece]))


async def test_audio_and_containers_may_have_any_chunk_size() -> None:
    pieces: list[MediaChunk] = [ImageFrame(0.0, b"picture"), AudioChunk(bytes(200_002))]
    async with serving_streams(StubAnnotationServicer()) as port:
        results = await annotate(port, iterate_slowly(pieces))

    assert isinstance(results[-1], StreamSummary)
    assert results[-1].flags == expected_audio_flag(pieces)


async def test_closing_the_generator_early_closes_the_media_and_the_call() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[MediaChunk]:
        try:
            for piece in make_frames():
                yield piece
            await asyncio.Event().wait()
        finally:
            closed.set()

    servicer = StubAnnotationServicer()
    async with serving_streams(servicer) as port, LiveClient(f"127.0.0.1:{port}") as live:
        async with aclosing(live.annotate(endless(), FRAME_OPTIONS)) as results:
            async for _ in results:
                break
        assert closed.is_set()
        await eventually(servicer.is_idle)
