"""Hashes of model files, held against the catalogue."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from service.errors import ModelFileMismatch, ModelFileMissing, ModelFileTooLarge
from service.model_catalogue.entries import CatalogueEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHashes:
    """Size of a file, and its hashes: plain, and as git names a blob of these bytes."""

    size: int
    sha256: str
    git_blob_sha1: str


def hash_file(file: Path) -> FileHashes:
    """Hash a file. Raises: ModelFileMissing: it is no file, or cannot be read."""
    try:
        if not file.is_file():
            raise ModelFileMissing(f"{file} is no file")
        with file.open("rb") as stream:
            size = file.stat().st_size
            sha256 = hashlib.sha256()
            blob = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
            while chunk := stream.read(2**20):
                sha256.update(chunk)
                blob.update(chunk)
    except OSError as error:
        raise ModelFileMissing(f"{file}: {error.strerror}") from error
    return FileHashes(size=size, sha256=sha256.hexdigest(), git_blob_sha1=blob.hexdigest())


def check_file(file: Path, entry: CatalogueEntry) -> FileHashes:
    """Hash a file and compare it with its entry, by each hash that the entry has.

    Raises: ModelFileMissing. ModelFileTooLarge. ModelFileMismatch: it is another file.
    """
    size = file.stat().st_size if file.is_file() else 0
    if size > entry.max_bytes:
        raise ModelFileTooLarge(
            f"{file.name} has {size:,} bytes; {entry.name} at most {entry.max_bytes:,}"
        )
    found = hash_file(file)
    for name, expected in (("git_blob_sha1", entry.git_blob_sha1), ("sha256", entry.sha256)):
        actual: str = getattr(found, name)
        if expected is not None and actual != expected:
            raise ModelFileMismatch(
                f"{file.name} is not {entry.name}: its {name} is {actual}, not {expected}"
            )
    return found
