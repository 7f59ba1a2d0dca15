"""Audit log: a JSON line per submission, change, fetched result, key command and refusal.

Each line goes to the logger `circumplex.audit` and, if one is set, to the audit file. A file that
cannot be opened prevents the start of the process; a later failure is logged as an error, and the
request goes on. No line holds a secret or any content of a clip.
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
from service.telemetry.redaction import redact

OK: Final = "ok"
INTERRUPTED: Final = "interrupted"
"""Outcome of a request whose client disconnected before the end of the response."""
REFUSAL_STATUSES: Final = frozenset({401, 403, 429})
"""HTTP statuses that are audited on every route."""
OWNER_ONLY_MODE: Final = 0o600
"""Permissions of a new audit file: its owner reads and writes."""

log = logging.getLogger(__name__)
_audit_logger = logging.getLogger(AUDIT_LOGGER)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One line of the audit log, without its time and trace id.

    key_id, key_name: the API key that acted, or that a key command changed. outcome: `ok`,
    `interrupted` or an error code. client: the remote address, or `command line`.
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
    """Writer of audit entries to the logger and to the audit file."""

    def __init__(self, file: AuditFile | None = None) -> None:
        self._file = file

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """Open the audit file of the settings, if any; raises AuditUnwritable."""
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
        """Write one entry with the current time and trace id."""
        timestamp = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        values = {
            name: redact(value) if isinstance(value, str) else value
            for name, value in asdict(entry).items()
        }
        line = json.dumps({"time": timestamp, "trace_id": TRACE_ID.get(), **values})
        _audit_logger.info("%s", line)
        if self._file is None:
            return
        try:
            self._file.append(line)
        except OSError as error:
            log.error("audit file %s cannot be written: %s", self._file.path, error)


class AuditFile:
    """Append-only file, reopened after a rotation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = self._open()

    def append(self, line: str) -> None:
        """Append a line with one write, so that lines of several processes do not mix."""
        if self._is_rotated():
            rotated, self._descriptor = self._descriptor, self._open()
            os.close(rotated)
        data = line.encode() + b"\n"
        written = os.write(self._descriptor, data)
        if written < len(data):
            raise OSError(f"{written} of {len(data)} bytes were written")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self.path, flags, OWNER_ONLY_MODE)

    def _is_rotated(self) -> bool:
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True
