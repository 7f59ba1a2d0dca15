"""What SubmitJob is sent, read: options, then a clip."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from circumplex.v1.jobs_pb2 import SubmitJobRequest, SubmitOptions

from service.domain.options import (
    MAX_STREAM_INDEX,
    AnalysisOptions,
    FaceSelection,
    Priority,
    SubmissionOptions,
)
from service.errors import MediaTypeUnsupported, RequestInvalid, StreamOutOfOrder
from service.gateway.context import GatewayContext
from service.gateway.rpc.validation import parse_enum
from service.gateway.use_cases.idempotency import KEY_PATTERN, MAX_KEY_LENGTH
from service.gateway.use_cases.upload_rate import UploadRateGuard
from service.gateway.use_cases.uploads import (
    MAX_MEDIA_TYPE_LENGTH,
    OCTET_STREAM,
    Upload,
    is_clip_media_type,
    limit_size,
    sanitize_filename,
)

Requests = AsyncIterator[SubmitJobRequest]


class SubmitCall:
    """One call of SubmitJob."""

    def __init__(self, gateway: GatewayContext, requests: Requests) -> None:
        self._requests = requests
        self._rate_guard = UploadRateGuard(gateway.settings, gateway.drain)
        self.options = SubmitOptions()

    async def read_options(self) -> None:
        """Read the options. Raises: StreamOutOfOrder, UploadInterrupted, GatewayDraining."""
        first = await self._read_next()
        if first is None or first.WhichOneof("message") != "options":
            raise StreamOutOfOrder("the first message is `options`")
        self.options = first.options

    @property
    def submission_options(self) -> SubmissionOptions:
        """What the options say of the clip; raises RequestInvalid."""
        analysis = AnalysisOptions(
            faces=parse_enum(
                "options.faces", FaceSelection, self.options.faces, FaceSelection.PRIMARY
            ),
            video_stream=self._stream_index("video_stream"),
            audio_stream=self._stream_index("audio_stream"),
        )
        priority = parse_enum("options.priority", Priority, self.options.priority, Priority.BULK)
        return SubmissionOptions(analysis=analysis, priority=priority)

    @property
    def idempotency_key(self) -> str | None:
        """The idempotency key, if there is one; raises RequestInvalid."""
        key = self.options.idempotency_key
        if key and (len(key) > MAX_KEY_LENGTH or not re.fullmatch(KEY_PATTERN, key)):
            raise RequestInvalid(
                f"an idempotency key has up to {MAX_KEY_LENGTH} printable ASCII characters",
                field="options.idempotency_key",
            )
        return key or None

    async def open_upload(self, max_bytes: int) -> Upload:
        """The clip; raises MediaTypeUnsupported."""
        media_type = self.options.media_type.strip().lower()[:MAX_MEDIA_TYPE_LENGTH] or OCTET_STREAM
        if not is_clip_media_type(media_type):
            raise MediaTypeUnsupported(
                f"a clip is video/*, audio/* or {OCTET_STREAM}; this is {media_type}"
            )
        return Upload(
            filename=sanitize_filename(self.options.filename),
            media_type=media_type,
            content=limit_size(self._read_data(), max_bytes),
        )

    async def _read_data(self) -> AsyncGenerator[bytes]:
        while (request := await self._read_next()) is not None:
            if request.WhichOneof("message") != "data":
                raise StreamOutOfOrder("after `options` there is only `data`")
            yield request.data

    async def _read_next(self) -> SubmitJobRequest | None:
        return await self._rate_guard.wait_for(partial(anext, self._requests, None), _size_bytes)

    def _stream_index(self, name: str) -> int | None:
        if not self.options.HasField(name):
            return None
        index: int = getattr(self.options, name)
        if index > MAX_STREAM_INDEX:
            raise RequestInvalid(f"at most {MAX_STREAM_INDEX}", field=f"options.{name}")
        return index


def _size_bytes(request: SubmitJobRequest | None) -> int | None:
    return None if request is None else len(request.data)
