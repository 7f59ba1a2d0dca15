"""Responses of a call that the service ends while the client is sending media."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import grpc
import pytest
from circumplex_client.live.client import METHOD
from circumplex_client.live.responses import LIBRARY_ERROR_DETAILS, ResponseReader
from circumplex_client.v1 import annotation_pb2 as pb

from tests.integration.fake_media import FRAME_OPTIONS
from tests.integration.stub_gateway import StubAnnotationServicer, serving_streams

Request, Response = pb.StreamingAnnotateRequest, pb.StreamingAnnotateResponse


async def send_endlessly(call: Any) -> None:
    for index in itertools.count():
        frame = pb.VideoFrame(time_seconds=index / 25, data=bytes(2**14))
        await call.write(Request(frame=frame))


async def test_all_responses_are_read_before_the_service_error_is_raised() -> None:
    """Responses are read only after a write has failed with the library's own status."""
    servicer = StubAnnotationServicer()
    servicer.fail_at = 5
    async with (
        serving_streams(servicer) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        call = channel.stream_stream(
            METHOD,
            request_serializer=Request.SerializeToString,
            response_deserializer=Response.FromString,
        )()
        responses = ResponseReader(call)
        await call.write(FRAME_OPTIONS.to_message(""))
        with pytest.raises(grpc.aio.AioRpcError) as library_error:
            await asyncio.wait_for(send_endlessly(call), 30)
        read = [await responses.read() for _ in range(6)]
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await responses.read()

    assert library_error.value.details() == LIBRARY_ERROR_DETAILS
    kinds = [response.WhichOneof("message") for response in read if response is not None]
    assert kinds == ["config_ack", *5 * ["frame_result"]]
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "because of request_invalid"
