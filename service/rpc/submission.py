"""What SubmitJob is sent, read: options, then a clip."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from circumplex.v1.jobs_pb2 import SubmitJobRequest, SubmitOptions

from service.domain.choices import Choices, Faces, Priority
from service.errors import MediaTypeUnsupported, RequestInvalid, StreamOutOfOrder
from service.office.gateway import Gateway
from service.office.idempotency import LONGEST, PATTERN
from service.office.pace import Pace
from service.office.uploads import (
    ANY_BYTES,
    MEDIA_TYPE_LENGTH,
    Upload,
    bounded,
    can_be_clip,
    plain_name,
)
from service.office.wishes import MAX_STREAM, Wishes
from service.rpc.choosing import chosen

Requests = AsyncIterator[SubmitJobRequest]


class Submission:
    """One call of SubmitJob."""

    def __init__(self, gateway: Gateway, requests: Requests) -> None:
        self._requests = requests
        self._pace = Pace(gateway.settings, gateway.drain)
        self.options = SubmitOptions()

    async def begin(self) -> None:
        """Read the options. Raises: StreamOutOfOrder, UploadInterrupted, GatewayDraining."""
        first = await self._next()
        if first is None or first.WhichOneof("message") != "options":
            raise StreamOutOfOrder("the first message is `options`")
        self.options = first.options

    @property
    def wishes(self) -> Wishes:
        """What the options say of the clip; raises RequestInvalid."""
        choices = Choices(
            faces=chosen("options.faces", Faces, self.options.faces, Faces.PRIMARY),
            video_stream=self._stream("video_stream"),
            audio_stream=self._stream("audio_stream"),
        )
        priority = chosen("options.priority", Priority, self.options.priority, Priority.BULK)
        return Wishes(choices=choices, priority=priority)

    @property
    def key(self) -> str | None:
        """The idempotency key, if there is one; raises RequestInvalid."""
        key = self.options.idempotency_key
        if key and (len(key) > LONGEST or not re.fullmatch(PATTERN, key)):
            raise RequestInvalid(
                f"an idempotency key has up to {LONGEST} printable ASCII characters",
                field="options.idempotency_key",
            )
        return key or None

    async def open_upload(self, max_bytes: int) -> Upload:
        """The clip; raises MediaTypeUnsupported."""
        media_type = self.options.media_type.strip().lower()[:MEDIA_TYPE_LENGTH] or ANY_BYTES
        if not can_be_clip(media_type):
            raise MediaTypeUnsupported(
                f"a clip is video/*, audio/* or {ANY_BYTES}; this is {media_type}"
            )
        return Upload(
            filename=plain_name(self.options.filename),
            media_type=media_type,
            content=bounded(self._data(), max_bytes),
        )

    async def _data(self) -> AsyncGenerator[bytes]:
        while (request := await self._next()) is not None:
            if request.WhichOneof("message") != "data":
                raise StreamOutOfOrder("after `options` there is only `data`")
            yield request.data

    async def _next(self) -> SubmitJobRequest | None:
        return await self._pace.wait_for(partial(anext, self._requests, None), _weight)

    def _stream(self, name: str) -> int | None:
        if not self.options.HasField(name):
            return None
        place: int = getattr(self.options, name)
        if place > MAX_STREAM:
            raise RequestInvalid(f"at most {MAX_STREAM}", field=f"options.{name}")
        return place


def _weight(request: SubmitJobRequest | None) -> int | None:
    return None if request is None else len(request.data)
