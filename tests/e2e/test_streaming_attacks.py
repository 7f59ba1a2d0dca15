"""Clients of streams that disappear, stall, are too many, or send something else."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from circumplex.v1 import annotation_pb2_grpc as services

from service.embedded.stack import Stack
from tests.e2e.wire_client import (
    call_until_admitted,
    make_frame,
    make_frames,
    make_frames_config,
    run_call,
)

NOISE = random.Random(1).randbytes(5000)
RELEASE_TIMEOUT_SECONDS = 10.0
"""Takes a second on an idle machine."""


@pytest.fixture(scope="module")
def gateway(stack: Stack) -> psutil.Process:
    (process,) = stack.parts["gateway"]
    return process


async def assert_unharmed(target: str, gateway: psutil.Process, jpegs: list[bytes]) -> None:
    """Check that the gateway has no decode process left and serves a valid stream."""
    await wait_until_no_decoding(gateway)
    outcome = await call_until_admitted(target, [make_frames_config(), *make_frames(jpegs, 6)])
    assert (outcome.code, outcome.response_counts["final"]) == (grpc.StatusCode.OK, 6)


async def wait_until_no_decoding(gateway: psutil.Process) -> None:
    """Wait until there is no decode process."""
    async with asyncio.timeout(RELEASE_TIMEOUT_SECONDS):
        while True:
            if not _list_decode_processes(gateway):
                return
            await asyncio.sleep(0.02)


def _list_decode_processes(gateway: psutil.Process) -> list[psutil.Process]:
    """List the decode processes: children of the forkserver, which is a child of the gateway."""
    forkservers = gateway.children()
    return [each for parent in forkservers for each in parent.children() if each.is_running()]


async def test_traffic_that_is_not_grpc_is_refused(
    stack: Stack, target: str, gateway: psutil.Process, jpegs: list[bytes]
) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", NOISE, preface + NOISE[:2000]):
        with socket.create_connection(
            (stack.settings.host, stack.settings.grpc_port), timeout=30
        ) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            await asyncio.to_thread(_read_to_end, connection)

    await assert_unharmed(target, gateway, jpegs)


def _read_to_end(connection: socket.socket) -> None:
    with connection:
        while True:
            try:
                if not connection.recv(2**16):
                    return
            except ConnectionError:
                return


STREAMING_PROGRAM = """
import asyncio, sys, grpc
from circumplex.v1 import annotation_pb2 as pb, annotation_pb2_grpc as services

async def stream(target, jpeg):
    async with grpc.aio.insecure_channel(target) as channel:
        call = services.AnnotationServiceStub(channel).StreamingAnnotate()
        frames = pb.FrameMedia(encoding=pb.FRAME_ENCODING_JPEG)
        await call.write(pb.StreamingAnnotateRequest(config=pb.StreamConfig(frames=frames)))
        for number in range(700):
            frame = pb.VideoFrame(time_seconds=number / 25, data=jpeg)
            await call.write(pb.StreamingAnnotateRequest(frame=frame))
            response = await call.read()
            print(response.WhichOneof("message"), flush=True)

asyncio.run(stream(sys.argv[1], open(sys.argv[2], "rb").read()))
"""


async def test_a_killed_client_ends_its_decode_process(
    target: str, gateway: psutil.Process, jpegs: list[bytes], tmp_path: Path
) -> None:
    picture = tmp_path / "face.jpg"
    picture.write_bytes(jpegs[0])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STREAMING_PROGRAM, target, str(picture), stdout=PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        await process.stdout.readuntil(b"frame_result")
    assert len(_list_decode_processes(gateway)) == 1
    process.send_signal(signal.SIGKILL)
    await process.wait()

    await assert_unharmed(target, gateway, jpegs)


async def test_a_client_that_never_reads_blocks_no_other(
    target: str, gateway: psutil.Process, jpegs: list[bytes]
) -> None:
    before = gateway.memory_info().rss
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        stub: Any = services.AnnotationServiceStub(channel)  # generated without types
        stream = stub.StreamingAnnotate()
        await stream.write(make_frames_config())
        with suppress(TimeoutError):
            async with asyncio.timeout(3):
                for number in range(740):
                    await stream.write(make_frame(number / 25, jpegs[number % 75] + bytes(2**20)))
        other = await call_until_admitted(target, [make_frames_config(), *make_frames(jpegs, 6)])
        grown = gateway.memory_info().rss - before
        stream.cancel()

    assert other.response_counts["final"] == 6
    assert grown < 400 * 2**20
    await assert_unharmed(target, gateway, jpegs)


async def test_admitted_streams_complete_and_excess_ones_get_a_reason(
    target: str, gateway: psutil.Process, jpegs: list[bytes]
) -> None:
    async def one() -> tuple[str, str, int]:
        outcome = await run_call(
            target, [make_frames_config(), *make_frames(jpegs, 25)], pause_seconds=0.04
        )
        assert outcome.reason != "STREAMS_FULL" or outcome.retry_seconds
        return outcome.code.name, outcome.reason, outcome.response_counts["final"]

    ends = Counter(await asyncio.gather(*(one() for _ in range(42 + 4 * (os.cpu_count() or 1)))))

    assert set(ends) == {("OK", "", 25), ("RESOURCE_EXHAUSTED", "STREAMS_FULL", 0)}, ends
    await assert_unharmed(target, gateway, jpegs)


async def test_short_calls_leak_nothing(
    target: str, gateway: psutil.Process, jpegs: list[bytes]
) -> None:
    await assert_unharmed(target, gateway, jpegs)
    files = gateway.num_fds()

    async def one(number: int) -> None:
        async with grpc.aio.insecure_channel(target) as channel:
            stub: Any = services.AnnotationServiceStub(channel)
            stream = stub.StreamingAnnotate()
            requests = [make_frames_config(), *make_frames(jpegs, number % 4)]
            try:
                for request in requests:
                    await stream.write(request)
                await asyncio.sleep(0.02 * number)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass
            stream.cancel()

    for _ in range(4):
        await asyncio.gather(*(one(number) for number in range(10)))

    await assert_unharmed(target, gateway, jpegs)
    assert gateway.num_fds() <= files + 10
