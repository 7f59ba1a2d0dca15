"""Every error a client can meet, as one tree.

The tree follows the clip: the gateway refuses a request, the clip itself is at
fault, or a part behind the gateway is away. Each edge (REST, gRPC, command
line) translates the class attributes once; nothing else decides a status.

    CircumplexError
    ├── RequestError              the request is at fault; nothing was queued
    │   ├── RequestInvalid            a field or parameter cannot be read
    │   ├── ClipFieldMissing          multipart without a `clip` file
    │   ├── Unauthenticated           no API key, or one that is unknown or revoked
    │   ├── ScopeMissing              the API key does not allow this
    │   ├── OriginRefused             a page of another origin than those that may
    │   ├── RateExceeded              the API key asks too often
    │   ├── QuotaExceeded             the API key holds as much as it may
    │   ├── MediaTypeUnsupported      a body that is no upload
    │   ├── ClipEmpty                 zero bytes
    │   ├── ClipTooLarge              more bytes than `max_upload_bytes`
    │   ├── UploadInterrupted         the client went away or fell silent
    │   ├── RequestTooSlow            its head did not come in time
    │   ├── AnswerStalled             the client takes no more of its answer
    │   ├── HeadTooLarge              request line and headers are too long
    │   ├── RequestMalformed          no HTTP
    │   ├── RouteUnknown              no such path
    │   ├── MethodNotAllowed          the path exists, the method does not
    │   ├── UpgradeRequired           the path is for WebSockets
    │   ├── JobUnknown                no such job
    │   ├── ResultNotReady            the job has not finished
    │   ├── ResultFormatUnknown       no such result format
    │   ├── IdempotencyKeyReused      the key came with another request before
    │   ├── IdempotencyKeyInUse       the key's first request is still under way
    │   ├── JobFinished               there is nothing left to cancel
    │   ├── JobNotRetryable           it has not failed, or its clip is gone
    │   ├── StreamOutOfOrder          a message that cannot come here
    │   ├── StreamOverrun             more frames than can be dealt with
    │   ├── StreamIdle                nothing came for too long
    │   ├── ResumeTokenInvalid        not a token of this stream
    │   ├── StreamGone                too late to resume
    │   └── StreamSuperseded          resumed by another call
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
        ├── StoreUnavailable          the blob store is away
        ├── QueueFull                 as many jobs wait as are taken
        ├── StoreFull                 the blob store has no room
        ├── WatchersFull              as many clients watch jobs as are served
        ├── StreamsFull               as many streams as can be served in time
        ├── ConnectionsExhausted      as many connections as the gateway serves
        ├── GatewayDraining           the gateway is about to stop
        ├── InferenceUnavailable      Triton is away or not warm
        ├── InferenceFailed           Triton answered with an error
        ├── DecoderKilled             somebody else killed the decode child
        ├── FaceModelsMissing         the face models are not installed
        ├── ModelsMissing             no models are exported where they should be
        ├── PartNotStarted            a server of the embedded stack did not start
        ├── PartStopped               a server of the embedded stack stopped
        ├── AccessUndecided           nobody said who may use the gateway
        ├── AuditUnwritable           the audit file cannot be opened
        ├── DoorNotOpened             the gRPC port or its TLS files cannot be used
        └── InternalError             a defect of ours
"""

from __future__ import annotations

from service.errors.base import (
    RETRY_SECONDS,
    CircumplexError,
)
from service.errors.clips import (
    AttemptsExhausted,
    ClipError,
    ClipNotMedia,
    ClipTooLong,
    ClipTooManyPixels,
    ClipTruncated,
    ClipWithoutFrames,
    ClipWithoutVideo,
    DecoderCrashed,
    DecoderOutOfMemory,
    DecoderTimedOut,
    MediaStreamUnknown,
)
from service.errors.codes import error_from_code
from service.errors.requests import (
    ClipEmpty,
    ClipFieldMissing,
    ClipTooLarge,
    HeadTooLarge,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    JobFinished,
    JobNotRetryable,
    JobUnknown,
    MediaTypeUnsupported,
    MethodNotAllowed,
    OriginRefused,
    QuotaExceeded,
    RateExceeded,
    RequestError,
    RequestInvalid,
    RequestMalformed,
    RequestTooSlow,
    ResponseStalled,
    ResultFormatUnknown,
    ResultNotReady,
    ResumeTokenInvalid,
    RouteUnknown,
    ScopeMissing,
    StreamExpired,
    StreamIdle,
    StreamOutOfOrder,
    StreamOverrun,
    StreamSuperseded,
    Unauthenticated,
    UpgradeRequired,
    UploadInterrupted,
)
from service.errors.services import (
    AccessModeUnset,
    AuditUnwritable,
    ConnectionsExhausted,
    DecoderKilled,
    EmbeddedServerNotStarted,
    EmbeddedServerStopped,
    FaceModelsMissing,
    GatewayDraining,
    GrpcServerNotStarted,
    InferenceFailed,
    InferenceUnavailable,
    InternalError,
    ModelsMissing,
    QueueFull,
    QueueUnavailable,
    ServiceError,
    StoreFull,
    StoreUnavailable,
    TooManyStreams,
    TooManySubscribers,
)

__all__ = [
    "RETRY_SECONDS",
    "AccessModeUnset",
    "AttemptsExhausted",
    "AuditUnwritable",
    "CircumplexError",
    "ClipEmpty",
    "ClipError",
    "ClipFieldMissing",
    "ClipNotMedia",
    "ClipTooLarge",
    "ClipTooLong",
    "ClipTooManyPixels",
    "ClipTruncated",
    "ClipWithoutFrames",
    "ClipWithoutVideo",
    "ConnectionsExhausted",
    "DecoderCrashed",
    "DecoderKilled",
    "DecoderOutOfMemory",
    "DecoderTimedOut",
    "EmbeddedServerNotStarted",
    "EmbeddedServerStopped",
    "FaceModelsMissing",
    "GatewayDraining",
    "GrpcServerNotStarted",
    "HeadTooLarge",
    "IdempotencyKeyInUse",
    "IdempotencyKeyReused",
    "InferenceFailed",
    "InferenceUnavailable",
    "InternalError",
    "JobFinished",
    "JobNotRetryable",
    "JobUnknown",
    "MediaStreamUnknown",
    "MediaTypeUnsupported",
    "MethodNotAllowed",
    "ModelsMissing",
    "OriginRefused",
    "QueueFull",
    "QueueUnavailable",
    "QuotaExceeded",
    "RateExceeded",
    "RequestError",
    "RequestInvalid",
    "RequestMalformed",
    "RequestTooSlow",
    "ResponseStalled",
    "ResultFormatUnknown",
    "ResultNotReady",
    "ResumeTokenInvalid",
    "RouteUnknown",
    "ScopeMissing",
    "ServiceError",
    "StoreFull",
    "StoreUnavailable",
    "StreamExpired",
    "StreamIdle",
    "StreamOutOfOrder",
    "StreamOverrun",
    "StreamSuperseded",
    "TooManyStreams",
    "TooManySubscribers",
    "Unauthenticated",
    "UpgradeRequired",
    "UploadInterrupted",
    "error_from_code",
]
