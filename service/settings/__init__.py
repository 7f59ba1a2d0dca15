"""Settings of the service: one frozen object, read once from `CIRCUMPLEX_*` and passed down."""

from __future__ import annotations

from service.settings.analysis import YARDSTICK, Analysis, Decoding, FaceTracking
from service.settings.limits import ClientLimits, Streaming
from service.settings.network import AccessControl, EmbeddedPorts, Network
from service.settings.processes import JobLifecycle, Telemetry
from service.settings.storage import BlobStorage, Directories

__all__ = ["YARDSTICK", "Settings"]


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
    Directories,
    AccessControl,
    Network,
):
    """Settings of the gateway, the worker and the embedded stack.

    Each field is read from the environment variable `CIRCUMPLEX_<FIELD>`; an empty variable counts
    as unset.
    """
