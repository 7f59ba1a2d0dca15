"""Messages of JobService: requests parsed and validated, job records serialised."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from enum import StrEnum
from functools import partial
from typing import TypeVar

from circumplex.v1 import jobs_pb2 as wire
from google.protobuf.timestamp_pb2 import Timestamp

from service.domain.caller import Caller, Scope
from service.domain.options import (
    MAX_STREAM_INDEX,
    AnalysisOptions,
    FaceSelection,
    Priority,
    SubmissionOptions,
)
from service.errors import MediaTypeUnsupported, RequestInvalid, StreamOutOfOrder
from service.gateway.context import GatewayContext
from service.gateway.stream_messages import parse_model
from service.gateway.use_cases.idempotency import KEY_PATTERN, MAX_KEY_LENGTH
from service.gateway.use_cases.uploads import (
    MAX_MEDIA_TYPE_LENGTH,
    OCTET_STREAM,
    Upload,
    UploadRateGuard,
    is_clip_media_type,
    limit_size,
    sanitize_filename,
)
from service.jobs.record import JobRecord

E = TypeVar("E", bound=StrEnum)
D = TypeVar("D")


def parse_enum(field: str, kind: type[E], text: str, default: D) -> E | D:
    """Parse a member of `kind`; an empty field is `default`. Raises: RequestInvalid."""
    if not text:
        return default
    try:
        return kind(text)
    except ValueError as error:
        words = ", ".join(kind)
        raise RequestInvalid(f"must be one of {words}", field=field) from error


def parse_pattern(field: str, pattern: str, text: str) -> str | None:
    """Return `text` if it matches `pattern`, None if it is empty. Raises: RequestInvalid."""
    if text and not re.fullmatch(pattern, text):
        raise RequestInvalid(f"must match {pattern}", field=field)
    return text or None


class SubmitCall:
    """Requests of one SubmitJob call: options, then the clip in parts."""

    def __init__(
        self, gateway: GatewayContext, requests: AsyncIterator[wire.SubmitJobRequest]
    ) -> None:
        self._requests = requests
        self._rate_guard = UploadRateGuard(gateway.settings, gateway.shutdown)
        self.options = wire.SubmitOptions()

    async def read_options(self) -> None:
        """Read the first message. Raises: StreamOutOfOrder, UploadInterrupted, GatewayDraining."""
        first = await self._read_next()
        if first is None or first.WhichOneof("message") != "options":
            raise StreamOutOfOrder("the first message is `options`")
        self.options = first.options

    @property
    def submission_options(self) -> SubmissionOptions:
        """Options of the job; raises RequestInvalid."""
        analysis = AnalysisOptions(
            faces=parse_enum(
                "options.faces", FaceSelection, self.options.faces, FaceSelection.PRIMARY
            ),
            video_stream=self._stream_index("video_stream"),
            audio_stream=self._stream_index("audio_stream"),
        )
        priority = parse_enum("options.priority", Priority, self.options.priority, Priority.BULK)
        model = parse_model("options.model", self.options.model)
        return SubmissionOptions(analysis=analysis, model=model, priority=priority)

    @property
    def idempotency_key(self) -> str | None:
        """Idempotency key, or None; raises RequestInvalid."""
        key = self.options.idempotency_key
        if key and (len(key) > MAX_KEY_LENGTH or not re.fullmatch(KEY_PATTERN, key)):
            raise RequestInvalid(
                f"an idempotency key has up to {MAX_KEY_LENGTH} printable ASCII characters",
                field="options.idempotency_key",
            )
        return key or None

    async def open_upload(self, max_bytes: int) -> Upload:
        """Open the clip as an upload; raises MediaTypeUnsupported."""
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

    async def _read_next(self) -> wire.SubmitJobRequest | None:
        return await self._rate_guard.wait_for(partial(anext, self._requests, None), _size_bytes)

    def _stream_index(self, name: str) -> int | None:
        if not self.options.HasField(name):
            return None
        index: int = getattr(self.options, name)
        if index > MAX_STREAM_INDEX:
            raise RequestInvalid(f"at most {MAX_STREAM_INDEX}", field=f"options.{name}")
        return index


def _size_bytes(request: wire.SubmitJobRequest | None) -> int | None:
    return None if request is None else len(request.data)


def job_to_proto(record: JobRecord, caller: Caller) -> wire.Job:
    """Serialise a job; its owner and worker are for administrators only."""
    is_admin = caller.allows(Scope.ADMIN)
    return wire.Job(
        id=record.id,
        state=record.state,
        created_at=_to_timestamp(record.created_at),
        started_at=_to_timestamp(record.started_at),
        finished_at=_to_timestamp(record.finished_at),
        expires_at=_to_timestamp(record.expires_at),
        filename=record.filename,
        progress=wire.Progress(
            frames_done=record.frames_done,
            frames_total=record.frames_total,
            fraction=record.fraction,
            eta_seconds=record.eta_seconds(time.time()),
        ),
        error=_error_to_proto(record),
        attempt=record.attempt,
        priority=record.priority,
        media_type=record.media_type,
        clip_bytes=record.clip_bytes,
        faces=record.faces,
        video_stream=record.video_stream,
        audio_stream=record.audio_stream,
        deferrals=record.deferrals,
        retry_at=_to_timestamp(record.retry_at),
        owner=record.owner if is_admin else None,
        worker=record.worker if is_admin else None,
        model=record.model,
    )


def _error_to_proto(record: JobRecord) -> wire.JobError | None:
    error = record.error
    if error is None:
        return None
    return wire.JobError(code=error.code, detail=error.detail, retryable=error.retryable)


def _to_timestamp(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(1e6 * seconds))
    return timestamp
