"""Errors of the service, as one tree.

The tree follows the clip: the gateway refuses a request, the clip is at fault, or a part of the
service is. Each edge (REST, gRPC, command line) translates the class attributes once; nothing else
decides a status.

    CircumplexError
    ├── RequestError              the request is at fault; nothing was queued
    │   ├── RequestInvalid            invalid field or parameter
    │   ├── ClipFieldMissing          form without a file field `clip`
    │   ├── FormTooLarge              form with too much beside the clip
    │   ├── Unauthenticated           API key missing, unknown, revoked or expired
    │   ├── ScopeMissing              API key without the scope
    │   ├── OriginRefused             browser page of a foreign origin
    │   ├── HostRefused               name in `Host` that is not the gateway's
    │   ├── RateExceeded              rate limit of the API key
    │   ├── QuotaExceeded             quota of the API key or address
    │   ├── MediaTypeUnsupported      body that is no upload
    │   ├── ClipEmpty                 zero bytes
    │   ├── ClipTooLarge              more bytes than `max_upload_bytes`
    │   ├── UploadInterrupted         client disconnected, idle or too slow
    │   ├── RequestTooSlow            beginning of the request timed out
    │   ├── ResponseStalled           client stopped reading the response
    │   ├── HeadTooLarge              request line and headers too long
    │   ├── RequestMalformed          not HTTP
    │   ├── RouteUnknown              unknown path
    │   ├── MethodNotAllowed          method not allowed on the path
    │   ├── UpgradeRequired           path for WebSockets only
    │   ├── JobUnknown                unknown job
    │   ├── ModelUnknown              model that is not served
    │   ├── ResultNotReady            job not finished
    │   ├── ResultFormatUnknown       unknown result format
    │   ├── IdempotencyKeyReused      key used with a different request before
    │   ├── IdempotencyKeyInUse       first request with the key in progress
    │   ├── JobFinished               ended job cannot be cancelled
    │   ├── JobNotRetryable           job not failed, or its clip deleted
    │   ├── StreamOutOfOrder          message not allowed at this point
    │   ├── StreamOverrun             frames faster than they are processed
    │   ├── StreamIdle                no message for too long
    │   ├── ResumeTokenInvalid        malformed or foreign resume token
    │   ├── StreamExpired             too late to resume
    │   └── StreamSuperseded          resumed by another call
    ├── ClipError                 the clip is at fault; a retry will not help
    │   ├── ClipNotMedia              no accepted container
    │   ├── ClipTruncated             index of the container missing
    │   ├── ClipWithoutVideo          no video stream
    │   ├── ClipWithoutFrames         no frame that can be decoded
    │   ├── ClipEncrypted             encrypted video
    │   ├── MediaStreamUnknown        no stream of the kind with the index
    │   ├── ClipTooLong               more seconds or frames than allowed
    │   ├── ClipTooManyPixels         larger frames than allowed
    │   ├── DecoderCrashed            decode process crashed
    │   ├── DecoderOutOfMemory        memory limit of the decode process
    │   ├── ClipTooCostly             more processor time or frames than its size accounts for
    │   ├── DecoderTimedOut           processor time limit of the decode process
    │   └── AttemptsExhausted         every attempt lost its worker
    └── ServiceError              a part of the service is at fault
        ├── QueueUnavailable          Redis unavailable
        ├── StoreUnavailable          blob store unavailable
        ├── QueueFull                 maximum number of queued jobs
        ├── StoreFull                 no space in the blob store
        ├── TooManySubscribers        maximum number of waiting clients
        ├── ConnectionsExhausted      maximum number of connections
        ├── TooManyCalls              maximum number of gRPC calls
        ├── GatewayDraining           gateway about to stop
        ├── InferenceUnavailable      Triton unavailable or not ready
        ├── InferenceFailed           Triton returned an error
        ├── DecoderKilled             decode process killed from outside
        ├── DecoderStalled            decode process without progress
        ├── FaceModelsMissing         face models not installed
        ├── ModelsMissing             no exported models
        ├── ModelNotServed            version of a model not served, or no longer
        ├── ModelChanged              served model other than its manifest names
        ├── ModelInUse                version of a model current or used
        ├── EmbeddedServerNotStarted  server of the embedded stack did not start
        ├── OutputNotWritable         output file of a command cannot be written
        ├── EmbeddedServerStopped     server of the embedded stack stopped
        ├── AccessModeUnset           reachable from other machines without an access mode
        ├── AuditUnwritable           audit file cannot be opened
        ├── GrpcServerNotStarted      gRPC port or TLS files unusable
        ├── InternalError             defect of the service
        ├── TooManyStreams            maximum number of streams
        ├── CatalogueInvalid          catalogue of published models unreadable
        ├── CatalogueEntryUnknown     unknown published model
        ├── LicenceNotAccepted        licence of a published model not accepted
        ├── ModelDownloadFailed       download of a model file failed or cut
        ├── ModelFileTooLarge         model file larger than the catalogue allows
        ├── ModelFileMismatch         model file with another hash
        ├── ModelFileMissing          model file not there or not accessible
        ├── TrainingCodeMissing       no training code for the export
        └── ModelExportFailed         model file that cannot be exported
"""

from __future__ import annotations

from service.errors.base import (
    DEFAULT_RETRY_SECONDS,
    CircumplexError,
)
from service.errors.clips import (
    AttemptsExhausted,
    ClipEncrypted,
    ClipError,
    ClipNotMedia,
    ClipTooCostly,
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
from service.errors.models import (
    CatalogueEntryUnknown,
    CatalogueInvalid,
    LicenceNotAccepted,
    ModelDownloadFailed,
    ModelExportFailed,
    ModelFileMismatch,
    ModelFileMissing,
    ModelFileTooLarge,
    ModelPullError,
    TrainingCodeMissing,
)
from service.errors.requests import (
    ClipEmpty,
    ClipFieldMissing,
    ClipTooLarge,
    FormTooLarge,
    HeadTooLarge,
    HostRefused,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    JobFinished,
    JobNotRetryable,
    JobUnknown,
    MediaTypeUnsupported,
    MethodNotAllowed,
    ModelUnknown,
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
    DecoderStalled,
    EmbeddedServerNotStarted,
    EmbeddedServerStopped,
    FaceModelsMissing,
    GatewayDraining,
    GrpcServerNotStarted,
    InferenceFailed,
    InferenceUnavailable,
    InternalError,
    ModelChanged,
    ModelInUse,
    ModelNotServed,
    ModelsMissing,
    OutputNotWritable,
    QueueFull,
    QueueUnavailable,
    ServiceError,
    StoreFull,
    StoreUnavailable,
    TooManyCalls,
    TooManyStreams,
    TooManySubscribers,
    error_from_code,
)

__all__ = [
    "DEFAULT_RETRY_SECONDS",
    "AccessModeUnset",
    "AttemptsExhausted",
    "AuditUnwritable",
    "CatalogueEntryUnknown",
    "CatalogueInvalid",
    "CircumplexError",
    "ClipEmpty",
    "ClipEncrypted",
    "ClipError",
    "ClipFieldMissing",
    "ClipNotMedia",
    "ClipTooCostly",
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
    "DecoderStalled",
    "DecoderTimedOut",
    "EmbeddedServerNotStarted",
    "EmbeddedServerStopped",
    "FaceModelsMissing",
    "FormTooLarge",
    "GatewayDraining",
    "GrpcServerNotStarted",
    "HeadTooLarge",
    "HostRefused",
    "IdempotencyKeyInUse",
    "IdempotencyKeyReused",
    "InferenceFailed",
    "InferenceUnavailable",
    "InternalError",
    "JobFinished",
    "JobNotRetryable",
    "JobUnknown",
    "LicenceNotAccepted",
    "MediaStreamUnknown",
    "MediaTypeUnsupported",
    "MethodNotAllowed",
    "ModelChanged",
    "ModelDownloadFailed",
    "ModelExportFailed",
    "ModelFileMismatch",
    "ModelFileMissing",
    "ModelFileTooLarge",
    "ModelInUse",
    "ModelNotServed",
    "ModelPullError",
    "ModelUnknown",
    "ModelsMissing",
    "OriginRefused",
    "OutputNotWritable",
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
    "TooManyCalls",
    "TooManyStreams",
    "TooManySubscribers",
    "TrainingCodeMissing",
    "Unauthenticated",
    "UpgradeRequired",
    "UploadInterrupted",
    "error_from_code",
]
