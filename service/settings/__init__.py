"""Every knob of the service: one frozen object, read once from `CIRCUMPLEX_*` and passed down."""

from __future__ import annotations

from service.settings.analysis import Analysis, Decoding, FaceTracking
from service.settings.limits import ClientLimits
from service.settings.network import AccessControl, Network
from service.settings.processes import EmbeddedPorts, JobLifecycle, Telemetry
from service.settings.storage import BlobStorage, Folders
from service.settings.streaming import Streaming


class Settings(
    # Pydantic lists the fields of the last base first.
    Telemetry,
    EmbeddedPorts,
    JobLifecycle,
    Streaming,
    Analysis,
    FaceTracking,
    Decoding,
    ClientLimits,
    BlobStorage,
    Folders,
    AccessControl,
    Network,
):
    """Settings of gateway, worker and embedded stack.

    Each field is read from the environment variable `CIRCUMPLEX_<FIELD>`; an empty one is not set.
    """
