"""Server-sent events of a job, read line by line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from circumplex_client.models import JobProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class JobNotification:
    """A job after a change. kind: "state", "progress" or "deleted"; the last has no state."""

    id: str | None
    kind: str
    job_id: str
    state: str | None
    progress: JobProgress | None
    error_code: str | None

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after."""
        return self.kind == "deleted" or self.state in ("succeeded", "failed", "cancelled")

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> Self:
        """From the lines of one event."""
        data: Mapping[str, Any] = json.loads(fields["data"])
        progress = data.get("progress")
        return cls(
            id=fields.get("id"),
            kind=fields["event"],
            job_id=data["job_id"],
            state=data.get("state"),
            progress=None if progress is None else JobProgress.from_json(progress),
            error_code=data.get("error_code"),
        )


def parse_events(lines: Iterable[str]) -> Iterator[JobNotification]:
    """The events of a stream; comments and what carries no data are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        else:
            if "data" in fields:
                yield JobNotification.from_fields(fields)
            fields = {}
