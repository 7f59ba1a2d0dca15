"""Blob store: clips and results by key, in a folder or an S3-compatible bucket."""

from __future__ import annotations

from service.blobstore.factory import open_store
from service.blobstore.folder import FolderStore
from service.blobstore.s3 import BucketStore

__all__ = ["BucketStore", "FolderStore", "open_store"]
