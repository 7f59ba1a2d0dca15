"""Request errors: the request is at fault, and nothing was queued."""

from __future__ import annotations

from service.errors.base import CircumplexError


class RequestError(CircumplexError):
    """The request cannot be served."""

    code = "request_error"
    http_status = 400
    grpc_status = "INVALID_ARGUMENT"


class RequestInvalid(RequestError):
    """A field or parameter of the request is invalid."""

    code = "request_invalid"
    http_status = 422

    def __init__(
        self,
        detail: str | None = None,
        *,
        field: str | None = None,
        retry_seconds: float | None = None,
    ) -> None:
        """field: the invalid field, as a path through the request message."""
        super().__init__(detail, retry_seconds=retry_seconds)
        self.field = field


class ClipFieldMissing(RequestError):
    """The form has no file field named `clip`."""

    code = "clip_field_missing"
    http_status = 422


class FormTooLarge(RequestError):
    """The form has more parts, or more bytes beside the clip, than this service accepts."""

    code = "form_too_large"
    http_status = 413


class Unauthenticated(RequestError):
    """The request needs a valid API key."""

    code = "unauthenticated"
    http_status = 401
    grpc_status = "UNAUTHENTICATED"


class ScopeMissing(RequestError):
    """The API key does not allow this."""

    code = "scope_missing"
    http_status = 403
    grpc_status = "PERMISSION_DENIED"


class OriginRefused(RequestError):
    """Pages of this origin may not use the gateway."""

    code = "origin_refused"
    http_status = 403
    grpc_status = "PERMISSION_DENIED"


class HostRefused(RequestError):
    """The gateway is not reached by this name."""

    code = "host_refused"
    http_status = 403
    grpc_status = "PERMISSION_DENIED"


class RateExceeded(RequestError):
    """The API key has made too many requests."""

    code = "rate_exceeded"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    retryable = True


class QuotaExceeded(RequestError):
    """The API key or address has reached its quota."""

    code = "quota_exceeded"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    retryable = True


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


class RequestTooSlow(RequestError):
    """The beginning of the request did not arrive in time."""

    code = "request_too_slow"
    http_status = 408
    grpc_status = "DEADLINE_EXCEEDED"
    retryable = True


class ResponseStalled(RequestError):
    """The client stopped reading the response for too long."""

    code = "answer_stalled"
    http_status = 408
    grpc_status = "DEADLINE_EXCEEDED"
    retryable = True


class HeadTooLarge(RequestError):
    """The request line and its headers are too long or too many."""

    code = "head_too_large"
    http_status = 431


class RequestMalformed(RequestError):
    """The request is not valid HTTP/1.1."""

    code = "request_malformed"


class RouteUnknown(RequestError):
    """There is no resource at this path."""

    code = "route_unknown"
    http_status = 404
    grpc_status = "UNIMPLEMENTED"


class MethodNotAllowed(RequestError):
    """The path does not allow the method."""

    code = "method_not_allowed"
    http_status = 405
    grpc_status = "UNIMPLEMENTED"


class UpgradeRequired(RequestError):
    """The path serves WebSockets only."""

    code = "upgrade_required"
    http_status = 426
    grpc_status = "FAILED_PRECONDITION"


class JobUnknown(RequestError):
    """There is no job with this id."""

    code = "job_unknown"
    http_status = 404
    grpc_status = "NOT_FOUND"


class ModelUnknown(RequestError):
    """No model of this name is served."""

    code = "model_unknown"
    http_status = 404
    grpc_status = "NOT_FOUND"


class ResultNotReady(RequestError):
    """The job has not finished yet."""

    code = "result_not_ready"
    http_status = 409
    grpc_status = "FAILED_PRECONDITION"
    retryable = True


class ResultFormatUnknown(RequestError):
    """Results are not available in this format."""

    code = "result_format_unknown"
    http_status = 406


class IdempotencyKeyReused(RequestError):
    """The idempotency key belongs to another request."""

    code = "idempotency_key_reused"
    http_status = 422


class IdempotencyKeyInUse(RequestError):
    """The first request with this idempotency key is still under way."""

    code = "idempotency_key_in_use"
    http_status = 409
    grpc_status = "ABORTED"
    retryable = True


class JobFinished(RequestError):
    """The job has ended and cannot be cancelled."""

    code = "job_finished"
    http_status = 409
    grpc_status = "FAILED_PRECONDITION"


class JobNotRetryable(RequestError):
    """Only a failed or cancelled job whose clip is still stored can be retried."""

    code = "job_not_retryable"
    http_status = 409
    grpc_status = "FAILED_PRECONDITION"


class StreamOutOfOrder(RequestError):
    """A message of the stream is not allowed at this point."""

    code = "stream_out_of_order"
    http_status = 422


class StreamOverrun(RequestError):
    """Frames arrived faster than they could be processed."""

    code = "stream_overrun"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    retryable = True


class StreamIdle(RequestError):
    """The stream received no message for too long."""

    code = "stream_idle"
    http_status = 408
    grpc_status = "DEADLINE_EXCEEDED"
    retryable = True


class ResumeTokenInvalid(RequestError):
    """The resume token is invalid, or belongs to a stream of another kind."""

    code = "resume_token_invalid"
    http_status = 422


class StreamExpired(RequestError):
    """The stream can no longer be resumed."""

    code = "stream_gone"
    http_status = 410
    grpc_status = "NOT_FOUND"


class StreamSuperseded(RequestError):
    """The stream has been resumed by another call."""

    code = "stream_superseded"
    http_status = 409
    grpc_status = "ABORTED"
