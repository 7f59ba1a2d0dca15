"""Every error a client can meet, as one tree.

The tree follows the clip: the gateway refuses a request, the clip itself is at
fault, or a part behind the gateway is away. Each edge (REST, gRPC, command
line) translates the class attributes once; nothing else decides a status.

    CircumplexError
    ├── RequestError              the request is at fault; nothing was queued
    │   ├── RequestInvalid            a field or parameter cannot be read
    │   ├── ClipFieldMissing          multipart without a `clip` file
    │   ├── MediaTypeUnsupported      a body that is no upload
    │   ├── ClipEmpty                 zero bytes
    │   ├── ClipTooLarge              more bytes than `max_upload_bytes`
    │   ├── UploadInterrupted         the client went away or fell silent
    │   ├── RouteUnknown              no such path
    │   ├── MethodNotAllowed          the path exists, the method does not
    │   ├── JobUnknown                no such job
    │   ├── ResultNotReady            the job has not finished
    │   └── ResultFormatUnknown       no such result format
    ├── ClipError                 the clip is at fault; trying again will not help
    │   ├── ClipNotMedia              no allowed container recognised
    │   ├── ClipTruncated             the container's index is missing
    │   ├── ClipWithoutVideo          sound only
    │   ├── ClipWithoutFrames         a video stream, and not one frame in it
    │   ├── StreamUnknown             the stream asked for is not there, or of another kind
    │   ├── ClipTooLong               more seconds or frames than allowed
    │   ├── ClipTooManyPixels         frames larger than allowed
    │   ├── DecoderCrashed            the decode child died
    │   ├── DecoderOutOfMemory        decoding needs more memory than allowed
    │   ├── DecoderTimedOut           the decode child stood still or ran too long
    │   └── AttemptsExhausted         worker after worker was lost while at it
    └── ServiceError              a part of the service is at fault
        ├── QueueUnavailable          Redis is away
        ├── StoreUnavailable          the blob store is away or full
        ├── InferenceUnavailable      Triton is away or not warm
        ├── InferenceFailed           Triton answered with an error
        ├── DecoderKilled             somebody else killed the decode child
        ├── FaceModelsMissing         the face models are not installed
        ├── ModelsMissing             no models are exported where they should be
        ├── PartNotStarted            a server of the embedded stack did not start
        ├── PartStopped               a server of the embedded stack stopped
        └── InternalError             a defect of ours
"""

from __future__ import annotations

from typing import ClassVar


class CircumplexError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.title()
        super().__init__(self.detail)

    @classmethod
    def title(cls) -> str:
        """The first line of the class docstring, without its full stop."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")

    @classmethod
    def of_code(cls, code: str, detail: str | None = None) -> CircumplexError:
        """The error a stored or transmitted `code` stands for; InternalError if unknown."""
        return _by_code(cls).get(code, InternalError)(detail)


def _by_code(root: type[CircumplexError]) -> dict[str, type[CircumplexError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _by_code(child)
    return found


class RequestError(CircumplexError):
    """The request cannot be served."""

    code = "request_error"
    http_status = 400
    grpc_status = "INVALID_ARGUMENT"


class RequestInvalid(RequestError):
    """A field or parameter of the request is invalid."""

    code = "request_invalid"
    http_status = 422


class ClipFieldMissing(RequestError):
    """The form has no file field named `clip`."""

    code = "clip_field_missing"
    http_status = 422


class MediaTypeUnsupported(RequestError):
    """The body is neither a form with a clip nor a media type that can be a clip."""

    code = "media_type_unsupported"
    http_status = 415


class ClipEmpty(RequestError):
    """The clip has no bytes."""

    code = "clip_empty"
    http_status = 422


class ClipTooLarge(RequestError):
    """The clip has more bytes than this service accepts."""

    code = "clip_too_large"
    http_status = 413
    grpc_status = "RESOURCE_EXHAUSTED"


class UploadInterrupted(RequestError):
    """The upload ended before its last byte."""

    code = "upload_interrupted"
    http_status = 408
    grpc_status = "CANCELLED"
    retryable = True


class RouteUnknown(RequestError):
    """There is nothing at this path."""

    code = "route_unknown"
    http_status = 404
    grpc_status = "UNIMPLEMENTED"


class MethodNotAllowed(RequestError):
    """This path does not take this method."""

    code = "method_not_allowed"
    http_status = 405
    grpc_status = "UNIMPLEMENTED"


class JobUnknown(RequestError):
    """There is no job with this id."""

    code = "job_unknown"
    http_status = 404
    grpc_status = "NOT_FOUND"


class ResultNotReady(RequestError):
    """The job has not finished yet."""

    code = "result_not_ready"
    http_status = 409
    grpc_status = "FAILED_PRECONDITION"
    retryable = True


class ResultFormatUnknown(RequestError):
    """Results are not offered in this format."""

    code = "result_format_unknown"
    http_status = 406


class ClipError(CircumplexError):
    """The clip cannot be analysed."""

    code = "clip_error"
    http_status = 422
    grpc_status = "INVALID_ARGUMENT"


class ClipNotMedia(ClipError):
    """The file is not a video in any accepted container."""

    code = "clip_not_media"


class ClipTruncated(ClipError):
    """The file ends before the index that its frames need."""

    code = "clip_truncated"


class ClipWithoutVideo(ClipError):
    """The file has no video stream."""

    code = "clip_without_video"


class ClipWithoutFrames(ClipError):
    """The video stream holds no frame that can be decoded."""

    code = "clip_without_frames"


class StreamUnknown(ClipError):
    """The file has no such stream of that kind."""

    code = "stream_unknown"


class ClipTooLong(ClipError):
    """The clip lasts longer, or has more frames, than this service accepts."""

    code = "clip_too_long"


class ClipTooManyPixels(ClipError):
    """The frames have more pixels than this service accepts."""

    code = "clip_too_many_pixels"


class DecoderCrashed(ClipError):
    """Decoding the clip crashed its decoder process."""

    code = "decoder_crashed"


class DecoderOutOfMemory(ClipError):
    """Decoding the clip needs more memory than allowed."""

    code = "decoder_out_of_memory"


class DecoderTimedOut(ClipError):
    """Decoding the clip took longer than allowed."""

    code = "decoder_timed_out"


class AttemptsExhausted(ClipError):
    """Every worker that took the clip was lost while it worked on it."""

    code = "attempts_exhausted"


class ServiceError(CircumplexError):
    """A part of the service is at fault."""

    code = "service_error"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True


class QueueUnavailable(ServiceError):
    """The job queue cannot be reached."""

    code = "queue_unavailable"


class StoreUnavailable(ServiceError):
    """The blob store cannot be written or read."""

    code = "store_unavailable"


class InferenceUnavailable(ServiceError):
    """The inference server cannot be reached or is not warm yet."""

    code = "inference_unavailable"


class InferenceFailed(ServiceError):
    """The inference server answered with an error."""

    code = "inference_failed"
    http_status = 502
    retryable = False


class DecoderKilled(ServiceError):
    """The process that decoded the clip was killed from outside."""

    code = "decoder_killed"


class FaceModelsMissing(ServiceError):
    """The face models are not installed."""

    code = "face_models_missing"
    retryable = False


class ModelsMissing(ServiceError):
    """No models are exported where this process looks for them."""

    code = "models_missing"
    retryable = False


class PartNotStarted(ServiceError):
    """A server of the embedded stack did not start."""

    code = "part_not_started"


class PartStopped(ServiceError):
    """A server of the embedded stack stopped."""

    code = "part_stopped"
    retryable = False


class InternalError(ServiceError):
    """A defect of this service."""

    code = "internal_error"
    http_status = 500
    grpc_status = "INTERNAL"
    retryable = False
