"""Catalogue entries for files of tests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from service.model_catalogue.entries import CatalogueEntry, read_catalogue

CONTENT = bytes(range(256)) * 1200
"""Content of a file: 300 kB."""


def git_blob_sha1(content: bytes) -> str:
    """Hash that `git hash-object` gives."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def make_entry(content: bytes = CONTENT, **fields: Any) -> CatalogueEntry:
    """Make the entry of a file, of the first entry's network."""
    document = read_catalogue().entries[0].model_dump(mode="json")
    document |= {"git_blob_sha1": git_blob_sha1(content), "sha256": None, "max_bytes": 400_000}
    return CatalogueEntry.model_validate_json(json.dumps(document | fields))
