"""Folder of pulled model files, each with a record of its origin beside it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from service.errors import (
    ModelDownloadFailed,
    ModelFileMismatch,
    ModelFileMissing,
)
from service.model_catalogue.entries import CatalogueEntry
from service.model_catalogue.file_hashes import FileHashes, check_file

FOLDER_NAME = "pulled"
"""Within the setting `runtime_dir`."""

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes so far and in all, None if the server does not give it."""


class PulledFiles:
    """Model files by the names of their entries."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_path(self, entry: CatalogueEntry) -> Path:
        """Return the path that an entry's file has, there or not."""
        return self._folder / f"{entry.name}.onnx"

    def has(self, entry: CatalogueEntry) -> bool:
        """Look whether the file is there; its hash is not checked."""
        return self.get_path(entry).is_file()

    def check(self, entry: CatalogueEntry) -> FileHashes:
        """Hold the file against its entry.

        Raises: ModelFileMissing, ModelFileTooLarge, ModelFileMismatch.
        """
        if not self.has(entry):
            raise ModelFileMissing(f"{entry.name} is not pulled")
        return check_file(self.get_path(entry), entry)

    def copy(self, entry: CatalogueEntry, source: Path, licences: Sequence[str]) -> Path:
        """Copy a file that is already on this machine.

        Raises: ModelFileMissing, ModelFileTooLarge, ModelFileMismatch.
        """
        if not source.is_file():
            raise ModelFileMissing(f"{source} is no file")
        try:
            check_file(source, entry)
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=".copy-") as folder:
                copy = Path(folder) / source.name
                shutil.copyfile(source, copy)
                return self._accept(entry, copy, str(source.resolve()), licences)
        except OSError as error:
            raise ModelFileMissing(f"{error.filename or source}: {error.strerror}") from error

    def download(
        self,
        entry: CatalogueEntry,
        licences: Sequence[str],
        *,
        proxy: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Path:
        """Download the file; a file with another hash is removed.

        Raises: ModelDownloadFailed, ModelFileMissing, ModelFileTooLarge, ModelFileMismatch.
        """
        from service.model_catalogue.download import (  # its HTTP library comes with an extra
            download_file,
            remove_part,
        )

        part = self._folder / f"{entry.name}.onnx.part"
        with self._locked():
            download_file(
                entry.url, part, max_bytes=entry.max_bytes, proxy=proxy, on_progress=on_progress
            )
            try:
                return self._accept(entry, part, entry.url, licences)
            except ModelFileMismatch as error:
                raise ModelFileMismatch(f"{error.detail}; it was removed") from error
            finally:
                remove_part(part)

    def remove(self, entry: CatalogueEntry) -> bool:
        """Remove the file, its record and what an unfinished download left; False if none was."""
        found = False
        for suffix in (".onnx", ".json", ".onnx.part", ".onnx.part.json"):
            path = self._folder / f"{entry.name}{suffix}"
            found |= path.is_file()
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise ModelFileMissing(f"{path}: {error.strerror}") from error
        return found

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Exclude other downloads into the folder."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / ".lock").open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield
        except BlockingIOError as error:
            raise ModelDownloadFailed("another process downloads into this folder") from error
        except OSError as error:
            raise ModelFileMissing(f"{error.filename or self._folder}: {error.strerror}") from error

    def _accept(
        self, entry: CatalogueEntry, file: Path, source: str, licences: Sequence[str]
    ) -> Path:
        """Check a file that is complete, then move it to its place with its record."""
        hashes = check_file(file, entry)
        record = {
            "name": entry.name,
            "source": source,
            "pulled_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "bytes": hashes.size,
            "sha256": hashes.sha256,
            "git_blob_sha1": hashes.git_blob_sha1,
            "accepted_licences": list(licences),
        }
        target = self.get_path(entry)
        with file.open("rb") as written:
            os.fsync(written.fileno())
        file.replace(target)
        target.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
        return target
