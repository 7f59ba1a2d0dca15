"""Every knob of the service: one frozen object, read once from `CIRCUMPLEX_*` and passed down."""

from __future__ import annotations

from service.settings.acceptance import Acceptance
from service.settings.addresses import Access, Addresses
from service.settings.live import Live
from service.settings.method import Decoding, Faces, Method
from service.settings.operation import Embedded, Jobs, Telemetry
from service.settings.storage import BlobStore, Folders


class Settings(
    # Pydantic lists the fields of the last base first.
    Telemetry,
    Embedded,
    Jobs,
    Live,
    Method,
    Faces,
    Decoding,
    Acceptance,
    BlobStore,
    Folders,
    Access,
    Addresses,
):
    """Settings of gateway, worker and embedded stack.

    Each field is read from the environment variable `CIRCUMPLEX_<FIELD>`; an empty one is not set.
    """
