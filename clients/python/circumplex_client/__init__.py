"""Client of Circumplex: valence and arousal for every frame of a clip."""

from circumplex_client.client import Client
from circumplex_client.errors import (
    ClientError,
    ExtraMissing,
    JobCancelled,
    JobFailed,
    MediaUnfit,
    Problem,
    ProblemError,
    RequestRefused,
    ResumeImpossible,
    ServiceTroubled,
    Unreachable,
    WaitTimedOut,
)
from circumplex_client.events import Event
from circumplex_client.values import Choices, Faces, Frames, Job, Progress, Result, Track

__all__ = [
    "Choices",
    "Client",
    "ClientError",
    "Event",
    "ExtraMissing",
    "Faces",
    "Frames",
    "Job",
    "JobCancelled",
    "JobFailed",
    "MediaUnfit",
    "Problem",
    "ProblemError",
    "Progress",
    "RequestRefused",
    "Result",
    "ResumeImpossible",
    "ServiceTroubled",
    "Track",
    "Unreachable",
    "WaitTimedOut",
]
