"""Settings of the storage: directories, and the blob store of clips and results."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from service.settings.base import SettingsGroup


class Directories(SettingsGroup):
    """Directories and files on this machine."""

    runtime_dir: Path = Field(
        default=Path(".runtime"),
        description="Directory of downloaded run-time files: Triton and the face models.",
    )
    state_dir: Path = Field(
        default=Path(".runtime/state"),
        description="Directory of the embedded stack's state: the data of Redis and all logs.",
    )
    store_dir: Path = Field(
        default=Path(".runtime/store"),
        description="Directory of the blob store, which holds clips and results.",
    )
    face_models_dir: Path = Field(
        default=Path(".runtime/faces"),
        description="Directory of the three face models, whose hashes are checked at start.",
    )
    yunet_file: Path | None = Field(
        default=None,
        description="YuNet ONNX file that replaces the three face models.",
    )
    model_repository: Path = Field(
        default=Path("model_repository"),
        description="Model repository of Triton; the provenance of results is read from it.",
    )


class BlobStorage(SettingsGroup):
    """Blob storage: bucket, timeouts, capacity and orphan sweep."""

    store_url: str = Field(
        default="",
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?)?$",
        description="s3://bucket/prefix: store blobs in a bucket instead of store_dir; "
        "credentials come from the AWS_* variables.",
    )
    store_endpoint: str = Field(
        default="",
        pattern=r"^(https?://[^@/?#\s]+/?)?$",
        description="URL of an S3-compatible server; unset: Amazon's endpoint of the region.",
    )
    store_region: str = Field(
        default="", description="Region of the bucket; unset: AWS_REGION or us-east-1."
    )
    store_addressing: Literal["path", "virtual"] = Field(
        default="path",
        description="Place of the bucket's name in URLs: path or host name (virtual).",
    )
    store_allow_http: bool = Field(
        default=False, description="Allow an unencrypted http:// endpoint."
    )
    store_timeout_seconds: float = Field(
        default=20.0,
        gt=0,
        le=300,
        description="Time-out of a response of the bucket's server, or of a transfer of 8 MiB, "
        "seconds.",
    )
    store_scratch_dir: Path | None = Field(
        default=None,
        description="Directory of a worker's temporary copies of clips from a bucket; "
        "unset: the system's temporary directory.",
    )
    store_reserve_bytes: int = Field(
        default=512 * 2**20,
        ge=0,
        description="Free space in store_dir reserved for results, bytes; clips that need it are "
        "answered with 507.",
    )
    store_budget_bytes: int | None = Field(
        default=None,
        ge=0,
        description="Maximum total size of clips and results, bytes; clips that exceed it are "
        "answered with 507; unset: no limit but the free space.",
    )
    orphan_sweep_seconds: float = Field(
        default=600.0,
        ge=0.1,
        le=24 * 3600.0,
        description="Interval of the orphan sweep, which deletes blobs without a job, seconds.",
    )
    orphan_grace_seconds: float = Field(
        default=3600.0,
        ge=0,
        description="Minimum age of a blob deleted by the orphan sweep, seconds.",
    )

    @model_validator(mode="after")
    def _check_virtual_addressing(self) -> Self:
        host = urlsplit(self.store_endpoint).hostname or ""
        if self.store_addressing == "virtual" and (":" in host or host.replace(".", "").isdigit()):
            raise ValueError("store_addressing=virtual needs a store_endpoint with a host name")
        return self
