"""Phases of the gateway's shutdown, and slots of subscribers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from service.domain.caller import ANONYMOUS
from service.errors import QuotaExceeded, TooManySubscribers
from service.gateway.lifecycle import (
    ShutdownPhase,
    ShutdownState,
    SubscriberLimiter,
    drive_shutdown,
)
from service.settings import Settings

LONG_SECONDS = 300.0
TIMEOUT_SECONDS = 10.0


async def wait_for_phase(shutdown: ShutdownState, phase: ShutdownPhase) -> None:
    assert await shutdown.wait_for(phase, TIMEOUT_SECONDS), phase


async def test_phases_follow_each_other_in_time_and_streams_are_drained_once() -> None:
    shutdown, drained = ShutdownState(), list[ShutdownPhase]()
    settings = Settings(drain_delay_seconds=0.2, drain_seconds=0.2)
    started = asyncio.get_running_loop().time()

    def drain_streams() -> None:
        drained.extend(phase for phase in ShutdownPhase if shutdown.has_reached(phase))

    async with drive_shutdown(shutdown, settings, drain_streams=drain_streams):
        assert not await shutdown.wait_for(ShutdownPhase.ANNOUNCED, 0.05)
        shutdown.request_stop()
        await wait_for_phase(shutdown, ShutdownPhase.ANNOUNCED)
        assert not shutdown.has_reached(ShutdownPhase.CLOSING)
        await wait_for_phase(shutdown, ShutdownPhase.CLOSING)
        assert not shutdown.has_reached(ShutdownPhase.OVERDUE)
        await wait_for_phase(shutdown, ShutdownPhase.OVERDUE)
    assert asyncio.get_running_loop().time() - started > 0.4
    assert drained == [ShutdownPhase.SERVING, ShutdownPhase.ANNOUNCED, ShutdownPhase.CLOSING]


async def test_a_second_request_to_stop_ends_all_waits() -> None:
    shutdown = ShutdownState()
    settings = Settings(drain_delay_seconds=LONG_SECONDS, drain_seconds=LONG_SECONDS)
    async with drive_shutdown(shutdown, settings, drain_streams=lambda: None):
        shutdown.request_stop()
        await wait_for_phase(shutdown, ShutdownPhase.ANNOUNCED)
        assert not await shutdown.wait_for_request(ShutdownPhase.OVERDUE, 0.05)
        shutdown.request_stop()
        await wait_for_phase(shutdown, ShutdownPhase.OVERDUE)


async def test_a_requested_phase_begins_at_once_but_not_the_next() -> None:
    shutdown = ShutdownState()
    settings = Settings(drain_delay_seconds=LONG_SECONDS, drain_seconds=LONG_SECONDS)
    async with drive_shutdown(shutdown, settings, drain_streams=lambda: None):
        shutdown.request(ShutdownPhase.CLOSING)
        await wait_for_phase(shutdown, ShutdownPhase.CLOSING)
        assert not await shutdown.wait_for(ShutdownPhase.OVERDUE, 0.05)


def test_subscribers_above_the_limit_are_refused_until_one_leaves() -> None:
    limiter = SubscriberLimiter()
    settings = Settings(max_subscribers=2, max_subscribers_per_client=1)
    callers = [replace(ANONYMOUS, address_id=f"address:192.0.2.{each}") for each in range(3)]
    with limiter.subscription(callers[0], settings):
        with pytest.raises(QuotaExceeded), limiter.subscription(callers[0], settings):
            pass
        with limiter.subscription(callers[1], settings):
            with pytest.raises(TooManySubscribers), limiter.subscription(callers[2], settings):
                pass
            assert limiter.count == 2
        with limiter.subscription(callers[2], settings):
            pass
    assert limiter.count == 0
