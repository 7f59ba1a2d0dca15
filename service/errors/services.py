"""Service errors: a part of the service is at fault."""

from __future__ import annotations

from service.errors.base import CircumplexError


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


class QueueFull(ServiceError):
    """The job queue is full."""

    code = "queue_full"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"


class StoreFull(ServiceError):
    """The blob store has no room for the clip."""

    code = "store_full"
    http_status = 507
    grpc_status = "RESOURCE_EXHAUSTED"


class TooManySubscribers(ServiceError):
    """Too many clients of this gateway wait for jobs or follow them."""

    code = "watchers_full"


class ConnectionsExhausted(ServiceError):
    """Too many connections to this gateway are open."""

    code = "connections_exhausted"


class TooManyCalls(ServiceError):
    """Too many gRPC calls to this gateway are under way."""

    code = "calls_exhausted"
    grpc_status = "RESOURCE_EXHAUSTED"


class GatewayDraining(ServiceError):
    """The gateway is about to stop."""

    code = "gateway_draining"


class InferenceUnavailable(ServiceError):
    """The inference server cannot be reached or is not ready yet."""

    code = "inference_unavailable"


class InferenceFailed(ServiceError):
    """The inference server answered with an error."""

    code = "inference_failed"
    http_status = 502
    retryable = False


class DecoderKilled(ServiceError):
    """The process that decoded the clip was killed from outside."""

    code = "decoder_killed"


class DecoderStalled(ServiceError):
    """The process that decoded the clip made no progress."""

    code = "decoder_stalled"


class FaceModelsMissing(ServiceError):
    """The face models are not installed."""

    code = "face_models_missing"
    retryable = False


class ModelsMissing(ServiceError):
    """No models are exported where this process looks for them."""

    code = "models_missing"
    retryable = False


class ModelNotServed(ServiceError):
    """The version of the model is not served, or no longer."""

    code = "model_not_served"
    grpc_status = "FAILED_PRECONDITION"
    retryable = False


class ModelChanged(ServiceError):
    """The served file is not the one that the model's manifest names."""

    code = "model_changed"
    grpc_status = "FAILED_PRECONDITION"
    retryable = False


class ModelInUse(ServiceError):
    """The version of the model is current, or jobs or streams use it."""

    code = "model_in_use"
    http_status = 409
    grpc_status = "FAILED_PRECONDITION"
    retryable = False


class EmbeddedServerNotStarted(ServiceError):
    """A server of the embedded stack did not start."""

    code = "part_not_started"


class OutputNotWritable(ServiceError):
    """A command cannot write its output file."""

    code = "output_not_writable"
    retryable = False


class EmbeddedServerStopped(ServiceError):
    """A server of the embedded stack stopped."""

    code = "part_stopped"
    retryable = False


class AccessModeUnset(ServiceError):
    """The gateway can be reached from other machines, and no access mode is set."""

    code = "access_undecided"
    retryable = False


class AuditUnwritable(ServiceError):
    """The audit file cannot be opened."""

    code = "audit_unwritable"
    retryable = False


class GrpcServerNotStarted(ServiceError):
    """The gRPC port or its TLS files cannot be used."""

    code = "door_not_opened"
    retryable = False


class InternalError(ServiceError):
    """An internal error of the service."""

    code = "internal_error"
    http_status = 500
    grpc_status = "INTERNAL"
    retryable = False


class TooManyStreams(ServiceError):
    """The gateway serves as many streams as its capacity allows."""

    code = "streams_full"
    http_status = 503
    grpc_status = "RESOURCE_EXHAUSTED"
    retryable = True


def error_from_code(code: str, detail: str | None = None) -> CircumplexError:
    """Restore an error from a stored or transmitted code; InternalError if unknown."""
    return _errors_by_code(CircumplexError).get(code, InternalError)(detail)


def _errors_by_code(root: type[CircumplexError]) -> dict[str, type[CircumplexError]]:
    found = {root.code: root}
    for subclass in root.__subclasses__():
        found |= _errors_by_code(subclass)
    return found
