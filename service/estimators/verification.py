"""Verification of exported files against the manifest that names them."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Final

from service.domain.estimator import EstimatorManifest
from service.errors import ModelChanged
from service.estimators.repository import EstimatorRepository

CLOCK_TICK_NS: Final = 2_000_000_000
"""Age of a change from which on another one has another time."""


class FileVerifier:
    """Holds files to their manifest; a file is hashed again only when it seems changed."""

    def __init__(self, repository: EstimatorRepository) -> None:
        self._repository = repository
        self._hashes: dict[Path, tuple[tuple[int, ...], str]] = {}

    def verify(self, manifest: EstimatorManifest) -> None:
        """Compare every exported file of an estimator. Raises: ModelChanged."""
        for slot, expected in manifest.models.items():
            file = self._repository.model_file(manifest.id, slot)
            if self._hash(file) != expected.file_sha256:
                raise ModelChanged(
                    f"{file.parent.parent.name}/1/model.pt is not the file that the manifest of "
                    f"{manifest.id} names; restore it, or export the model again as a new version"
                )

    def _hash(self, file: Path) -> str | None:
        """Return the SHA-256; None: the file is missing, or cannot be read."""
        try:
            return self._find_hash(file)
        except OSError:
            return None

    def _find_hash(self, file: Path) -> str:
        found = file.stat()
        state = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        known_state, known_hash = self._hashes.get(file, ((), ""))
        if known_state != state:
            with file.open("rb") as content:
                known_hash = hashlib.file_digest(content, "sha256").hexdigest()
            if time.time_ns() - found.st_ctime_ns > CLOCK_TICK_NS:
                self._hashes[file] = state, known_hash
        return known_hash
