"""Client of Circumplex: valence and arousal for every frame of a clip."""

from circumplex_client.client import Client
from circumplex_client.errors import (
    ClientError,
    ExtraMissing,
    InvalidMedia,
    JobCancelled,
    JobFailed,
    ProblemDetails,
    ProblemError,
    RequestRefused,
    ResumeImpossible,
    ServiceFailed,
    ServiceUnreachable,
    WaitTimedOut,
)
from circumplex_client.models import (
    ClipOptions,
    ClipResult,
    Faces,
    FaceTrack,
    Frames,
    Job,
    JobNotification,
    JobProgress,
    ResultModel,
)
from circumplex_client.served_models import ServedModel

__all__ = [
    "Client",
    "ClientError",
    "ClipOptions",
    "ClipResult",
    "ExtraMissing",
    "FaceTrack",
    "Faces",
    "Frames",
    "InvalidMedia",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobNotification",
    "JobProgress",
    "ProblemDetails",
    "ProblemError",
    "RequestRefused",
    "ResultModel",
    "ResumeImpossible",
    "ServedModel",
    "ServiceFailed",
    "ServiceUnreachable",
    "WaitTimedOut",
]
