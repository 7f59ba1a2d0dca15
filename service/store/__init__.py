"""Clips and results by key: in a folder, or in an S3-compatible bucket."""

from __future__ import annotations

from service.store.folder import FolderStore
from service.store.opening import open_store
from service.store.s3 import BucketStore

__all__ = ["BucketStore", "FolderStore", "open_store"]
