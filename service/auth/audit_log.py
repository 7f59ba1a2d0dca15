"""Who did what: a JSON line for every submission, change, fetched result, key and refusal.

Each line goes to the log `circumplex.audit` and, where one is set, to a file of its own. A file
that cannot be opened keeps a process from starting; one that fails later costs an error in the
log, which has the line as well, and stops nobody's work. No line holds a secret or any content.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from service.errors import AuditUnwritable
from service.settings import Settings
from service.telemetry.logs import AUDIT_LOGGER, TRACE_ID

OK: Final = "ok"
INTERRUPTED: Final = "interrupted"
"""The client was gone before it had its answer."""
REFUSAL_STATUSES: Final = frozenset({401, 403, 429})
"""HTTP statuses of errors that are written down whatever was asked for."""
OWNER_ONLY_MODE: Final = 0o600

log = logging.getLogger(__name__)
_audit_logger = logging.getLogger(AUDIT_LOGGER)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One line, but for its time and trace.

    key_id, key_name: who did it, or the key that it was done to. outcome: `ok` or an error's code.
    client: the address that it came from, or `command line`.
    """

    action: str
    outcome: str = OK
    status: int | None = None
    key_id: str | None = None
    key_name: str | None = None
    job_id: str | None = None
    client: str | None = None
    detail: str | None = None


class AuditLog:
    """Writes deeds down."""

    def __init__(self, file: AuditFile | None = None) -> None:
        self._file = file

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """Raises AuditUnwritable if there is to be a file and it cannot be opened."""
        if settings.audit_file is None:
            yield cls()
            return
        try:
            file = AuditFile(settings.audit_file)
        except OSError as error:
            raise AuditUnwritable(f"{settings.audit_file}: {error.strerror}") from error
        try:
            yield cls(file)
        finally:
            file.close()

    def write(self, entry: AuditEntry) -> None:
        """Write one deed down, now."""
        timestamp = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": timestamp, "trace_id": TRACE_ID.get(), **asdict(entry)})
        _audit_logger.info("%s", line)
        if self._file is None:
            return
        try:
            self._file.append(line)
        except OSError as error:
            log.error("%s cannot be written: %s", self._file.path, error)


class AuditFile:
    """A file that is only ever appended to, and found again after somebody has rotated it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = self._open()

    def append(self, line: str) -> None:
        """Write a line with one call, so that those of several processes never mix."""
        if self._is_rotated():
            rotated, self._descriptor = self._descriptor, self._open()
            os.close(rotated)
        data = line.encode() + b"\n"
        written = os.write(self._descriptor, data)
        if written < len(data):
            raise OSError(f"{written} of {len(data)} bytes were written")

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self.path, flags, OWNER_ONLY_MODE)

    def _is_rotated(self) -> bool:
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True
