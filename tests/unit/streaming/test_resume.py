"""Resumed streams: the same results as without disconnections, at any gateway."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from circumplex.v1 import annotation_pb2 as wire

from service.domain.caller import Caller, Scope
from service.errors import (
    GatewayDraining,
    QueueUnavailable,
    ResumeTokenInvalid,
    StreamExpired,
    StreamSuperseded,
)
from tests.unit.streaming.redis_proxy import RedisProxy
from tests.unit.streaming.resuming_client import ResumingClient, comparable_results
from tests.unit.streaming.stream_harness import (
    UNREADABLE_BYTE,
    StreamHarness,
    annotate_messages,
    config_request,
    frame_request,
)

HarnessFactory = Callable[..., StreamHarness]
FRAMES = 520
DISCONNECTIONS = 100
SMALL_WINDOW_SETTINGS = {"window_frames": 16, "hop_frames": 12, "chunk_frames": 4}


def make_media(
    count: int = FRAMES,
) -> list[tuple[wire.StreamingAnnotateRequest, tuple[int, int, int]]]:
    """Crops, some of them missing, some unreadable."""
    requests = [
        frame_request(
            index % 255 if index % 50 else UNREADABLE_BYTE, face=index % 7 != 3 or index % 50 == 0
        )
        for index in range(count)
    ]
    for index, request in enumerate(requests):
        request.frame.time_seconds = index / 25
    return [(each, (0, 1, 0)) for each in requests]


def make_client(count: int = FRAMES, **fields: Any) -> ResumingClient:
    return ResumingClient(config=config_request(**fields).config, media=make_media(count))


async def test_results_are_the_same_after_a_hundred_disconnections(
    make_harness: HarnessFactory, redis_url: str
) -> None:
    whole, cut = make_client(), make_client()
    await whole.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams)
    draw = random.Random(6)
    async with RedisProxy(redis_url).running() as proxy:
        gateways = [
            make_harness(**SMALL_WINDOW_SETTINGS),
            make_harness(redis_url=proxy.url, **SMALL_WINDOW_SETTINGS),
        ]
        for place in range(DISCONNECTIONS):
            is_ahead = len(cut.finals) > 4 * place
            gateway, replies = gateways[draw.randrange(2)], draw.randrange(1, 2 if is_ahead else 60)
            if gateway is gateways[1] and place % 5 == 0:
                await connect_and_kill_gateway(cut, gateway, proxy, replies)
            else:
                await cut.connect(gateway.streams, replies)
        assert cut.summary is None
        await cut.connect(gateways[0].streams)
    assert [each.open_count for each in (gateway.extractor for gateway in gateways)] == [0, 0]
    assert comparable_results(cut.finals) == comparable_results(whole.finals)
    assert cut.dropped == whole.dropped == {*range(0, FRAMES, 50)}
    assert cut.summary is not None
    assert whole.summary is not None
    for each in (cut.summary, whole.summary):
        each.ClearField("latency")
    assert cut.summary == whole.summary


async def test_a_client_that_lost_results_gets_them_once_more(make_harness: HarnessFactory) -> None:
    whole, one = make_client(120), make_client(120)
    await whole.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams)
    await one.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams, finals=30)
    assert len(one.finals) > 20
    one.token, one.finals = one.finals[10].resume_token, one.finals[:11]
    await one.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams, 2)
    assert [each.index for each in one.finals[10:]] == [each.index for each in whole.finals[10:12]]
    await one.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams)
    assert comparable_results(one.finals) == comparable_results(whole.finals)


async def test_finished_stream_replays_its_last_results(make_harness: HarnessFactory) -> None:
    whole = make_client(60)
    await whole.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams)
    for place in (5, len(whole.finals) - 1):
        late = make_client(60)
        late.token, late.finals = whole.finals[place].resume_token, whole.finals[: place + 1]
        await late.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams)
        assert comparable_results(late.finals) == comparable_results(whole.finals)
        assert late.summary is not None
        assert late.summary.frames == 58


async def test_released_media_are_never_requested_again(make_harness: HarnessFactory) -> None:
    one = make_client(200)
    await one.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams, finals=150)
    assert one.released[1] >= 100
    await one.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams, 1)
    assert one.send_from[-1] >= one.released


async def test_draining_sends_the_resume_token_of_the_last_result(
    make_harness: HarnessFactory,
) -> None:
    whole, one = make_client(120), make_client(120)
    await whole.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams)
    gateway = make_harness(**SMALL_WINDOW_SETTINGS)
    async with aclosing(annotate_messages(gateway.streams, one.requests(), one.caller)) as replies:
        while len(one.finals) < 20:
            one.handle(await anext(replies))
        gateway.streams.drain()
        assert isinstance(await read_to_end(replies, one), GatewayDraining)
    assert one.token == one.finals[-1].resume_token
    await one.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams)
    assert comparable_results(one.finals) == comparable_results(whole.finals)


async def test_draining_before_the_first_result_sends_no_token(
    make_harness: HarnessFactory,
) -> None:
    gateway, one = make_harness(), make_client(20)
    async with aclosing(
        annotate_messages(gateway.streams, requests_without_end(one), one.caller)
    ) as replies:
        one.handle(await anext(replies))
        one.token = "none"
        gateway.streams.drain()
        assert isinstance(await read_to_end(replies, one), GatewayDraining)
    assert one.token == ""


async def test_dropped_frames_stay_dropped_after_resume(make_harness: HarnessFactory) -> None:
    """Media sent again are queued, not dropped for arriving all at once."""
    settings = SMALL_WINDOW_SETTINGS | {"stream_queue_frames": 4}
    one = make_client(300, overload_policy=wire.OVERLOAD_POLICY_DROP_OLDEST)
    slow = make_harness(**settings)
    await one.connect(slow.streams, finals=60)
    before = {*one.dropped}
    assert len(before) > len(range(0, 300, 50))
    again = ResumingClient(
        config=config_request(overload_policy=wire.OVERLOAD_POLICY_DROP_OLDEST).config,
        media=one.media,
        token=one.token,
        finals=one.finals,
    )
    await again.connect(make_harness(**settings).streams)
    indices = [each.index for each in one.finals]
    assert indices == sorted({*indices})
    assert not {*indices} & before
    assert {*indices} | before | again.dropped == {*range(300)}


async def test_fail_policy_does_not_apply_to_media_repeated_after_a_resume(
    make_harness: HarnessFactory,
) -> None:
    settings = SMALL_WINDOW_SETTINGS | {"stream_queue_frames": 2}
    one = make_client(100, overload_policy=wire.OVERLOAD_POLICY_BLOCK)
    await one.connect(make_harness(**settings).streams, finals=20)
    assert one.token
    one.config.overload_policy = wire.OVERLOAD_POLICY_FAIL
    await one.connect(make_harness(**settings).streams)
    assert one.summary is not None


async def test_second_call_with_the_same_token_supersedes_the_first(
    make_harness: HarnessFactory,
) -> None:
    one = make_client(120)
    await one.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams, finals=20)
    first, second = one, ResumingClient(config=one.config, media=one.media, token=one.token)
    async with aclosing(
        annotate_messages(
            make_harness(**SMALL_WINDOW_SETTINGS).streams, requests_without_end(first), first.caller
        )
    ) as replies:
        first.handle(await anext(replies))
        await second.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams)
        assert isinstance(await read_to_end(replies), StreamSuperseded)
    assert second.summary is not None


async def test_resume_on_the_same_gateway_needs_no_second_slot(
    make_harness: HarnessFactory,
) -> None:
    one, gateway = make_client(120), make_harness(max_streams=1, **SMALL_WINDOW_SETTINGS)
    async with aclosing(annotate_messages(gateway.streams, one.requests(), one.caller)) as replies:
        async for reply in replies:
            one.handle(reply)
            if one.finals:
                break
        reading = asyncio.create_task(read_to_end(replies))
        await one.connect(gateway.streams)
        assert isinstance(await reading, StreamSuperseded)
    assert one.summary is not None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"caller": Caller(owner="else", name="else", scopes=frozenset(Scope))}, StreamExpired),
        ({"config": config_request(faces=wire.FACES_ALL).config}, ResumeTokenInvalid),
        ({"config": wire.StreamConfig(container=wire.ContainerMedia())}, ResumeTokenInvalid),
        ({"token": "x"}, ResumeTokenInvalid),
        ({"token": f"{'a' * 22}.0"}, StreamExpired),
    ],
)
async def test_resume_token_is_bound_to_owner_and_config(
    make_harness: HarnessFactory, change: dict[str, Any], error: type[Exception]
) -> None:
    one = make_client(120)
    await one.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams, finals=20)
    fields: dict[str, Any] = {"config": one.config, "media": one.media, "token": one.token}
    other = ResumingClient(**fields | change)
    with pytest.raises(error):
        await other.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams)
    await one.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams)
    assert one.summary is not None


async def test_gateway_with_other_analysis_settings_refuses_to_resume(
    make_harness: HarnessFactory,
) -> None:
    one = make_client(120)
    await one.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams, finals=20)
    with pytest.raises(StreamExpired):
        await one.connect(make_harness(**SMALL_WINDOW_SETTINGS | {"hop_frames": 8}).streams)


async def test_expired_stream_cannot_be_resumed(make_harness: HarnessFactory) -> None:
    one, settings = make_client(120), SMALL_WINDOW_SETTINGS | {"stream_resume_seconds": 1.0}
    harness = make_harness(**settings)
    await one.connect(harness.streams, finals=20)
    stream_id = one.token.partition(".")[0]
    async with asyncio.timeout(10):
        key = f"{harness.settings.queue_name}:stream:{stream_id}"
        while await harness.redis.exists(key):  # noqa: ASYNC110 - Redis sends no event
            await asyncio.sleep(0.02)
    with pytest.raises(StreamExpired):
        await one.connect(make_harness(**settings).streams)


async def test_an_idle_stream_can_be_resumed_however_long_it_lasts(
    make_harness: HarnessFactory,
) -> None:
    one, gateway = (
        make_client(120),
        make_harness(**SMALL_WINDOW_SETTINGS | {"stream_resume_seconds": 1.0}),
    )
    async with aclosing(
        annotate_messages(gateway.streams, requests_without_end(one, 60), one.caller)
    ) as replies:
        reading = asyncio.create_task(read_to_end(replies, one))
        await asyncio.sleep(2.5)  # longer than the stream is retained
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert 0 < len(one.finals) < 60
    await one.connect(gateway.streams)
    assert one.summary is not None


async def test_stream_cannot_start_without_redis(
    make_harness: HarnessFactory, redis_url: str
) -> None:
    async with RedisProxy(redis_url).running() as proxy:
        gateway = make_harness(redis_url=proxy.url)
        await proxy.disconnect()
        with pytest.raises(QueueUnavailable):
            await make_client(20).connect(gateway.streams)
        assert gateway.extractor.open_count == 0


async def test_stream_survives_redis_outage_and_earlier_tokens_stay_valid(
    make_harness: HarnessFactory, redis_url: str
) -> None:
    whole, one = make_client(200), make_client(200)
    await whole.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams)
    async with RedisProxy(redis_url).running() as proxy:
        gateway = make_harness(redis_url=proxy.url, **SMALL_WINDOW_SETTINGS)
        async with aclosing(
            annotate_messages(gateway.streams, one.requests(), one.caller)
        ) as replies:
            async for reply in replies:
                one.handle(reply)
                if len(one.finals) == 20:
                    await proxy.disconnect()
                if len(one.finals) == 100:
                    break
        released = one.released
    await one.connect(make_harness(**SMALL_WINDOW_SETTINGS).streams)
    assert one.send_from[-1] == released
    assert comparable_results(one.finals) == comparable_results(whole.finals)


async def test_stream_that_was_never_stored_issues_no_tokens(
    make_harness: HarnessFactory, redis_url: str
) -> None:
    one = make_client(120)
    async with RedisProxy(redis_url).running() as proxy:
        gateway = make_harness(redis_url=proxy.url, **SMALL_WINDOW_SETTINGS)
        async with aclosing(
            annotate_messages(gateway.streams, one.requests(), one.caller)
        ) as replies:
            one.handle(await anext(replies))
            await proxy.disconnect()
            async for reply in replies:
                one.handle(reply)
    assert len(one.finals) == 117
    assert one.token == ""


async def requests_without_end(
    client: ResumingClient, count: int | None = None
) -> AsyncIterator[wire.StreamingAnnotateRequest]:
    """The client's requests, up to so many media, without an end."""
    place = 0
    async for request in client.requests():
        yield request
        place += 1
        if count is not None and place > count:
            break
    await asyncio.Event().wait()


async def read_to_end(
    replies: AsyncIterator[wire.StreamingAnnotateResponse], client: ResumingClient | None = None
) -> Exception | None:
    """Read to the end; returns the error it ends with."""
    try:
        async for reply in replies:
            if client is not None:
                client.handle(reply)
    except (StreamSuperseded, GatewayDraining) as error:
        return error
    return None


async def connect_and_kill_gateway(
    client: ResumingClient, gateway: StreamHarness, proxy: RedisProxy, max_replies: int
) -> None:
    """Read so many replies, then disconnect the gateway from Redis and the client from it."""
    async with aclosing(
        annotate_messages(gateway.streams, client.requests(), client.caller)
    ) as replies:
        async for reply in replies:
            client.handle(reply)
            max_replies -= 1
            if max_replies == 0:
                await proxy.disconnect()
                break
    if max_replies == 0:
        await proxy.restore()
