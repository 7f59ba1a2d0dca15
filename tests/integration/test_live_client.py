from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing

import pytest
from circumplex_client import ClientError, MediaUnfit, RequestRefused, ServiceTroubled, Unreachable
from circumplex_client.live import (
    Accepted,
    Box,
    ContainerBytes,
    Frame,
    FrameResult,
    LiveChoices,
    LiveClient,
    LiveResult,
    Piece,
    Sound,
    Summary,
)
from grpc import StatusCode

from tests.integration.relay import Relay, relaying
from tests.integration.rooms import eventually
from tests.integration.servers import free_port
from tests.integration.stand_in import StandIn, refusal, serving_streams
from tests.integration.streaming import (
    CONTAINER,
    FRAMES,
    SINGLE,
    coming,
    container,
    single_frames,
    sound_of,
    truth_of,
    values_of,
)


async def annotate(
    port: int,
    media: AsyncIterable[Piece],
    choices: LiveChoices = SINGLE,
    *,
    breaks: list[tuple[ClientError, float]] | None = None,
    accepted: list[Accepted] | None = None,
    trouble_seconds: float = 60.0,
) -> list[LiveResult]:
    """Everything that a stream brings; a few kB are kept in memory for it."""
    live = LiveClient(
        f"127.0.0.1:{port}",
        api_key="cpx_secret",
        memory_bytes=9_000,
        trouble_seconds=trouble_seconds,
    )
    told = [] if breaks is None else breaks
    taken = [] if accepted is None else accepted
    async with live:
        results = live.annotate(
            media,
            choices,
            on_accept=taken.append,
            on_break=lambda error, seconds: told.append((error, seconds)),
        )
        return [result async for result in results]


async def test_a_stream_brings_both_results_of_each_frame_and_a_summary() -> None:
    pieces, stand_in, accepted = single_frames(), StandIn(), list[Accepted]()
    async with serving_streams(stand_in) as port:
        results = await annotate(port, coming(pieces), accepted=accepted)

    truth = dict(enumerate(truth_of(pieces)))
    assert values_of(results, final=True) == truth
    assert values_of(results, final=False) == truth
    first, last = results[0], results[-1]
    assert isinstance(first, FrameResult)
    assert first.tracks[0].box == Box(left=1, top=2, width=3, height=4, score=0.9)
    assert isinstance(last, Summary)
    assert (last.frames, last.flags) == (FRAMES, sound_of(pieces))
    assert (last.primary_track, last.latency) == (None, None)
    assert [each.stream_id for each in accepted] == ["stream0"]
    assert accepted[0].limits.buffered_results == 64
    assert stand_in.metadata[0]["authorization"] == "Bearer cpx_secret"


@pytest.mark.parametrize("remembers", [True, False], ids=["same_gateway", "another_gateway"])
@pytest.mark.parametrize(
    ("choices", "pieces"),
    [(SINGLE, single_frames()), (CONTAINER, container())],
    ids=["frames", "container"],
)
async def test_cut_connections_leave_no_gap_and_no_repetition(
    choices: LiveChoices, pieces: list[Piece], remembers: bool
) -> None:
    chance = random.Random(4)
    lives = iter([chance.choice([100, 3_000, 12_000, 30_000]) for _ in range(6)])
    breaks: list[tuple[ClientError, float]] = []
    async with serving_streams(StandIn(remembers=remembers)) as port:
        relay = Relay(port, lives)
        async with relaying(relay) as door:
            results = await annotate(door, coming(pieces), choices, breaks=breaks)

    assert len(breaks) >= 3
    assert all(isinstance(error, Unreachable) for error, _ in breaks)
    finals, provisional = values_of(results, final=True), values_of(results, final=False)
    assert list(finals) == list(range(FRAMES))
    assert list(finals.values()) == truth_of(pieces)
    assert list(provisional) == sorted(provisional)
    assert isinstance(results[-1], Summary)
    assert results[-1].flags == sound_of(pieces)


async def test_a_gateway_that_drains_is_left_for_another() -> None:
    pieces, stand_in = single_frames(), StandIn(remembers=False)
    stand_in.drain_at = 40
    breaks: list[tuple[ClientError, float]] = []
    async with serving_streams(stand_in) as port:
        results = await annotate(port, coming(pieces), breaks=breaks)

    assert list(values_of(results, final=True).values()) == truth_of(pieces)
    (error, _), *others = breaks
    assert isinstance(error, ServiceTroubled)
    assert (error.problem.code, others) == ("gateway_draining", [])
    assert [bool(config.resume_token) for config in stand_in.configs] == [False, True]


async def test_a_full_gateway_is_asked_again_when_it_says_so() -> None:
    stand_in, breaks = StandIn(), list[tuple[ClientError, float]]()
    stand_in.refusals = [refusal(StatusCode.RESOURCE_EXHAUSTED, "streams_full", 0.3)]
    pieces = single_frames(10)
    async with serving_streams(stand_in) as port:
        results = await annotate(port, coming(pieces), breaks=breaks)

    assert list(values_of(results, final=True).values()) == truth_of(pieces)
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
async def test_what_calling_again_cannot_mend_is_raised_at_once(
    code: StatusCode, reason: str, retry_seconds: float | None
) -> None:
    stand_in = StandIn()
    stand_in.refusals = [refusal(code, reason, retry_seconds)]
    async with serving_streams(stand_in) as port:
        with pytest.raises(RequestRefused) as raised:
            await annotate(port, coming(single_frames()))

    assert str(raised.value) == f"It cannot be: because of {reason} [{reason}]"
    assert raised.value.problem.trace_id == "0af7"
    assert len(stand_in.configs) == 1


async def test_what_the_service_says_is_heard_while_media_are_on_their_way() -> None:
    async def flood() -> AsyncGenerator[Piece]:
        for index in range(2000):
            yield Frame(index / 25, bytes(2**14))

    stand_in = StandIn()
    stand_in.fail_at = 5
    async with serving_streams(stand_in) as port:
        for _ in range(20):
            with pytest.raises(RequestRefused) as raised:
                await annotate(port, flood())
            assert raised.value.problem.code == "request_invalid"

    assert len(stand_in.configs) == 20


async def test_a_stream_that_is_gone_begins_anew_where_all_of_it_is_still_there() -> None:
    pieces, stand_in = container(), StandIn()
    stand_in.drain_at = 40
    gone = refusal(StatusCode.NOT_FOUND, "stream_gone")
    async with serving_streams(stand_in) as port, LiveClient(f"127.0.0.1:{port}") as live:
        results = [
            result
            async for result in live.annotate(
                coming(pieces), CONTAINER, on_break=lambda *_: stand_in.refusals.append(gone)
            )
        ]

    assert list(values_of(results, final=True).values()) == truth_of(pieces)
    assert [bool(config.resume_token) for config in stand_in.configs] == [False, True, False]


async def test_a_stream_that_is_gone_is_an_error_where_media_were_released() -> None:
    stand_in = StandIn()
    stand_in.drain_at = 40
    gone = refusal(StatusCode.NOT_FOUND, "stream_gone")
    async with serving_streams(stand_in) as port, LiveClient(f"127.0.0.1:{port}") as live:
        with pytest.raises(RequestRefused) as raised:
            async for _ in live.annotate(
                coming(single_frames()), SINGLE, on_break=lambda *_: stand_in.refusals.append(gone)
            ):
                pass

    assert raised.value.problem.code == "stream_gone"


async def test_a_gateway_that_is_not_there_is_unreachable_when_patience_is_over() -> None:
    port = free_port()
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
        await annotate(port, coming(single_frames()), trouble_seconds=0.5)


async def test_what_the_media_raise_is_raised() -> None:
    async def broken() -> AsyncGenerator[Piece]:
        yield Frame(0.0, b"picture")
        raise OSError("the camera is gone")

    async with serving_streams(StandIn()) as port:
        with pytest.raises(OSError, match="the camera is gone"):
            await annotate(port, broken())


@pytest.mark.parametrize(
    "piece",
    [ContainerBytes(b"bytes"), Sound(b"odd"), Frame(0.0, bytes(2**16))],
    ids=["of another kind", "half a sample", "more than a message"],
)
async def test_a_piece_that_does_not_belong_into_the_stream_is_refused(piece: Piece) -> None:
    async with serving_streams(StandIn()) as port:
        with pytest.raises(MediaUnfit):
            await annotate(port, coming([piece]))


async def test_sound_and_containers_may_come_in_pieces_of_any_size() -> None:
    pieces: list[Piece] = [Frame(0.0, b"picture"), Sound(bytes(200_002))]
    async with serving_streams(StandIn()) as port:
        results = await annotate(port, coming(pieces))

    assert isinstance(results[-1], Summary)
    assert results[-1].flags == sound_of(pieces)


async def test_a_stream_that_is_left_early_closes_the_media_and_the_call() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[Piece]:
        try:
            for piece in single_frames():
                yield piece
            await asyncio.Event().wait()
        finally:
            closed.set()

    stand_in = StandIn()
    async with serving_streams(stand_in) as port, LiveClient(f"127.0.0.1:{port}") as live:
        async with aclosing(live.annotate(endless(), SINGLE)) as results:
            async for _ in results:
                break
        assert closed.is_set()
        await eventually(stand_in.is_alone)
