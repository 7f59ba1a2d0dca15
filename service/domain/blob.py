"""What a blob store tells of a blob."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One blob as it is listed; `modified_at` in seconds since the epoch, by the store's clock."""

    key: str
    size_bytes: int
    modified_at: float
