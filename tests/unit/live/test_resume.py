"""A stream that is cut off anywhere goes on, at any gateway, as if it had not been."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest
from circumplex.v1 import annotation_pb2 as wire

from service.domain.caller import Caller, Scope
from service.errors import (
    GatewayDraining,
    QueueUnavailable,
    ResumeTokenInvalid,
    StreamGone,
    StreamSuperseded,
)
from tests.unit.live.client import Client, told
from tests.unit.live.parts import UNREADABLE, Stage, config, frame
from tests.unit.live.relay import Relay

StageOf = Callable[..., Stage]
FRAMES = 520
CUTS = 100
QUICK = {"window_frames": 16, "hop_frames": 12, "chunk_frames": 4}


def media(count: int = FRAMES) -> list[tuple[wire.StreamingAnnotateRequest, tuple[int, int, int]]]:
    """Crops, some missing, some no crops at all."""
    requests = [
        frame(index % 255 if index % 50 else UNREADABLE, face=index % 7 != 3 or index % 50 == 0)
        for index in range(count)
    ]
    for index, request in enumerate(requests):
        request.frame.time_seconds = index / 25
    return [(each, (0, 1, 0)) for each in requests]


def client(count: int = FRAMES, **fields: object) -> Client:
    return Client(config=config(**fields).config, media=media(count))


async def test_a_hundred_cuts_change_nothing(stage_of: StageOf, redis_url: str) -> None:
    whole, cut = client(), client()
    await whole.visit(stage_of(**QUICK).streams)
    draw = random.Random(6)
    async with Relay(redis_url).running() as relay:
        gateways = [stage_of(**QUICK), stage_of(redis_url=relay.url, **QUICK)]
        for place in range(CUTS):
            is_ahead = len(cut.finals) > 4 * place
            gateway, most = gateways[draw.randrange(2)], draw.randrange(1, 2 if is_ahead else 60)
            if gateway is gateways[1] and place % 5 == 0:
                await killed(cut, gateway, relay, most)
            else:
                await cut.visit(gateway.streams, most)
        assert cut.summary is None
        await cut.visit(gateways[0].streams)
    assert [each.open for each in (gateway.children for gateway in gateways)] == [0, 0]
    assert told(cut.finals) == told(whole.finals)
    assert cut.dropped == whole.dropped == {*range(0, FRAMES, 50)}
    assert cut.summary is not None
    assert whole.summary is not None
    for each in (cut.summary, whole.summary):
        each.ClearField("latency")
    assert cut.summary == whole.summary


async def test_a_client_that_lost_results_gets_them_once_more(stage_of: StageOf) -> None:
    whole, one = client(120), client(120)
    await whole.visit(stage_of(**QUICK).streams)
    await one.visit(stage_of(**QUICK).streams, finals=30)
    kept = len(one.finals)
    assert kept > 20
    one.token, one.finals = one.finals[10].resume_token, one.finals[:11]
    await one.visit(stage_of(**QUICK).streams, 2)
    assert [each.index for each in one.finals[10:]] == [each.index for each in whole.finals[10:12]]
    await one.visit(stage_of(**QUICK).streams)
    assert told(one.finals) == told(whole.finals)


async def test_a_stream_whose_end_was_lost_is_told_to_its_end_again(stage_of: StageOf) -> None:
    whole = client(60)
    await whole.visit(stage_of(**QUICK).streams)
    for place in (5, len(whole.finals) - 1):
        late = client(60)
        late.token, late.finals = whole.finals[place].resume_token, whole.finals[: place + 1]
        await late.visit(stage_of(**QUICK).streams)
        assert told(late.finals) == told(whole.finals)
        assert late.summary is not None
        assert late.summary.frames == 58


async def test_media_that_are_released_are_never_asked_for_again(stage_of: StageOf) -> None:
    one = client(200)
    await one.visit(stage_of(**QUICK).streams, finals=150)
    assert one.released[1] >= 100
    await one.visit(stage_of(**QUICK).streams, 1)
    assert one.send_from[-1] >= one.released


async def test_draining_hands_out_the_token_of_the_last_result(stage_of: StageOf) -> None:
    whole, one = client(120), client(120)
    await whole.visit(stage_of(**QUICK).streams)
    gateway = stage_of(**QUICK)
    async with aclosing(gateway.streams.annotate(one.requests(), one.caller)) as replies:
        while len(one.finals) < 20:
            one.take(await anext(replies))
        gateway.streams.drain()
        assert isinstance(await read_on(replies, one), GatewayDraining)
    assert one.token == one.finals[-1].resume_token
    await one.visit(stage_of(**QUICK).streams)
    assert told(one.finals) == told(whole.finals)


async def test_draining_before_the_first_result_hands_out_no_token(stage_of: StageOf) -> None:
    gateway, one = stage_of(), client(20)
    async with aclosing(gateway.streams.annotate(never_ending(one), one.caller)) as replies:
        one.take(await anext(replies))
        one.token = "none"
        gateway.streams.drain()
        assert isinstance(await read_on(replies, one), GatewayDraining)
    assert one.token == ""


async def test_what_was_dropped_stays_dropped(stage_of: StageOf) -> None:
    """And what is sent again waits its turn: it is not dropped for coming all at once."""
    settings = QUICK | {"stream_queue_frames": 4}
    one = client(300, overload_policy=wire.OVERLOAD_POLICY_DROP_OLDEST)
    slow = stage_of(**settings)
    await one.visit(slow.streams, finals=60)
    before = {*one.dropped}
    assert len(before) > len(range(0, 300, 50))
    again = Client(
        config=config(overload_policy=wire.OVERLOAD_POLICY_DROP_OLDEST).config,
        media=one.media,
        token=one.token,
        finals=one.finals,
    )
    await again.visit(stage_of(**settings).streams)
    indices = [each.index for each in one.finals]
    assert indices == sorted({*indices})
    assert not {*indices} & before
    assert {*indices} | before | again.dropped == {*range(300)}


async def test_a_client_that_catches_up_does_not_fail_for_being_fast(stage_of: StageOf) -> None:
    settings = QUICK | {"stream_queue_frames": 2}
    one = client(100, overload_policy=wire.OVERLOAD_POLICY_BLOCK)
    await one.visit(stage_of(**settings).streams, finals=20)
    assert one.token
    one.config.overload_policy = wire.OVERLOAD_POLICY_FAIL
    await one.visit(stage_of(**settings).streams)
    assert one.summary is not None


async def test_of_two_calls_with_one_token_one_goes_on(stage_of: StageOf) -> None:
    one = client(120)
    await one.visit(stage_of(**QUICK).streams, finals=20)
    first, second = one, Client(config=one.config, media=one.media, token=one.token)
    async with aclosing(
        stage_of(**QUICK).streams.annotate(never_ending(first), first.caller)
    ) as replies:
        first.take(await anext(replies))
        await second.visit(stage_of(**QUICK).streams)
        assert isinstance(await read_on(replies), StreamSuperseded)
    assert second.summary is not None


async def test_a_call_on_the_same_gateway_needs_no_second_place(stage_of: StageOf) -> None:
    one, gateway = client(120), stage_of(max_streams=1, **QUICK)
    async with aclosing(gateway.streams.annotate(one.requests(), one.caller)) as replies:
        async for reply in replies:
            one.take(reply)
            if one.finals:
                break
        reading = asyncio.create_task(read_on(replies))
        await one.visit(gateway.streams)
        assert isinstance(await reading, StreamSuperseded)
    assert one.summary is not None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"caller": Caller(owner="else", name="else", scopes=frozenset(Scope))}, StreamGone),
        ({"config": config(faces=wire.FACES_ALL).config}, ResumeTokenInvalid),
        ({"config": wire.StreamConfig(container=wire.ContainerMedia())}, ResumeTokenInvalid),
        ({"token": "x"}, ResumeTokenInvalid),
        ({"token": f"{'a' * 22}.0"}, StreamGone),
    ],
)
async def test_a_token_is_good_for_its_owner_and_its_media_only(
    stage_of: StageOf, change: dict[str, object], error: type[Exception]
) -> None:
    one = client(120)
    await one.visit(stage_of(**QUICK).streams, finals=20)
    other = Client(**{"config": one.config, "media": one.media, "token": one.token} | change)
    with pytest.raises(error):
        await other.visit(stage_of(**QUICK).streams)
    await one.visit(stage_of(**QUICK).streams)
    assert one.summary is not None


async def test_a_gateway_of_another_method_does_not_go_on(stage_of: StageOf) -> None:
    one = client(120)
    await one.visit(stage_of(**QUICK).streams, finals=20)
    with pytest.raises(StreamGone):
        await one.visit(stage_of(**QUICK | {"hop_frames": 8}).streams)


async def test_it_can_be_too_late(stage_of: StageOf) -> None:
    one, settings = client(120), QUICK | {"stream_resume_seconds": 1.0}
    await one.visit(stage_of(**settings).streams, finals=20)
    await asyncio.sleep(1.2)
    with pytest.raises(StreamGone):
        await one.visit(stage_of(**settings).streams)


async def test_an_idle_stream_can_be_resumed_however_long_it_lasts(stage_of: StageOf) -> None:
    one, gateway = client(120), stage_of(**QUICK | {"stream_resume_seconds": 1.0})
    async with aclosing(gateway.streams.annotate(never_ending(one, 60), one.caller)) as replies:
        reading = asyncio.create_task(read_on(replies, one))
        await asyncio.sleep(2.5)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert 0 < len(one.finals) < 60
    await one.visit(gateway.streams)
    assert one.summary is not None


async def test_without_redis_no_stream_begins(stage_of: StageOf, redis_url: str) -> None:
    async with Relay(redis_url).running() as relay:
        gateway = stage_of(redis_url=relay.url)
        await relay.cut()
        with pytest.raises(QueueUnavailable):
            await client(20).visit(gateway.streams)
        assert gateway.children.open == 0


async def test_a_stream_outlasts_redis_and_its_tokens_stay_good(
    stage_of: StageOf, redis_url: str
) -> None:
    whole, one = client(200), client(200)
    await whole.visit(stage_of(**QUICK).streams)
    async with Relay(redis_url).running() as relay:
        gateway = stage_of(redis_url=relay.url, **QUICK)
        async with aclosing(gateway.streams.annotate(one.requests(), one.caller)) as replies:
            async for reply in replies:
                one.take(reply)
                if len(one.finals) == 20:
                    await relay.cut()
                if len(one.finals) == 100:
                    break
        released = one.released
    await one.visit(stage_of(**QUICK).streams)
    assert one.send_from[-1] == released
    assert told(one.finals) == told(whole.finals)


async def test_a_stream_that_was_never_kept_gives_no_tokens(
    stage_of: StageOf, redis_url: str
) -> None:
    one = client(120)
    async with Relay(redis_url).running() as relay:
        gateway = stage_of(redis_url=relay.url, **QUICK)
        async with aclosing(gateway.streams.annotate(one.requests(), one.caller)) as replies:
            one.take(await anext(replies))
            await relay.cut()
            async for reply in replies:
                one.take(reply)
    assert len(one.finals) == 117
    assert one.token == ""


async def never_ending(
    client: Client, count: int | None = None
) -> AsyncIterator[wire.StreamingAnnotateRequest]:
    """The client's requests, the first so many media, and then nothing, without an end."""
    place = 0
    async for request in client.requests():
        yield request
        place += 1
        if count is not None and place > count:
            break
    await asyncio.Event().wait()


async def read_on(
    replies: AsyncIterator[wire.StreamingAnnotateResponse], client: Client | None = None
) -> Exception | None:
    """Read to the end; returns what it ends with."""
    try:
        async for reply in replies:
            if client is not None:
                client.take(reply)
    except (StreamSuperseded, GatewayDraining) as error:
        return error
    return None


async def killed(client: Client, gateway: Stage, relay: Relay, most: int) -> None:
    """The gateway dies: it writes nothing any more, and the client is cut off."""
    async with aclosing(gateway.streams.annotate(client.requests(), client.caller)) as replies:
        async for reply in replies:
            client.take(reply)
            most -= 1
            if most == 0:
                await relay.cut()
                break
    if most == 0:
        await relay.mend()
