"""Where files are, and where clips and results are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from service.settings.base import SettingsGroup


class Folders(SettingsGroup):
    """What lies where on this machine."""

    runtime_dir: Path = Field(
        default=Path(".runtime"),
        description="What set-up unpacks: Triton and the face models.",
    )
    state_dir: Path = Field(
        default=Path(".runtime/state"),
        description="What the embedded stack writes: Redis' data and every part's log.",
    )
    store_dir: Path = Field(
        default=Path(".runtime/store"), description="Blob store: clips and results, in a folder."
    )
    face_models_dir: Path = Field(
        default=Path(".runtime/faces"), description="The two face models (hash-checked at start)."
    )
    yunet_file: Path | None = Field(
        default=None, description="Your own YuNet ONNX file: used instead of the two face models."
    )
    model_repository: Path = Field(
        default=Path("model_repository"),
        description="What Triton serves; provenance is read from here.",
    )


class BlobStorage(SettingsGroup):
    """A bucket in the place of the folder, and how much may be kept."""

    store_url: str = Field(
        default="",
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?)?$",
        description="s3://bucket/prefix, for a bucket in the place of the folder. "
        "Credentials are taken from AWS_ACCESS_KEY_ID and its like.",
    )
    store_endpoint: str = Field(
        default="",
        pattern=r"^(https?://[^@/?#\s]+/?)?$",
        description="Address of an S3-compatible server; without it, Amazon's of the region.",
    )
    store_region: str = Field(
        default="", description="Region of the bucket; without it, AWS_REGION or us-east-1."
    )
    store_addressing: Literal["path", "virtual"] = Field(
        default="path", description="Where the bucket's name goes: into the path or the host name."
    )
    store_allow_http: bool = Field(
        default=False, description="Whether the bucket's endpoint may be http://, unencrypted."
    )
    store_timeout_seconds: float = Field(
        default=20.0,
        gt=0,
        le=300,
        description="How long the bucket's server may take for an answer, or to take 8 MiB.",
    )
    store_scratch_dir: Path | None = Field(
        default=None,
        description="Where a worker keeps its copy of a bucket's clip while it works on it; "
        "without it, the system's folder for temporary files.",
    )
    store_reserve_bytes: int = Field(
        default=512 * 2**20,
        ge=0,
        description="Free space of store_dir that new clips must leave, for results: else 507.",
    )
    store_budget_bytes: int | None = Field(
        default=None,
        ge=0,
        description="What all clips and results may weigh together; a clip above it meets 507. "
        "Without it, there is no budget but the space itself.",
    )
    orphan_sweep_seconds: float = Field(
        default=600.0,
        ge=0.1,
        le=24 * 3600.0,
        description="From one search for blobs that no job knows to the next.",
    )
    orphan_grace_seconds: float = Field(
        default=3600.0,
        ge=0,
        description="A blob younger than this is left alone by the search.",
    )

    @model_validator(mode="after")
    def _check_virtual_addressing(self) -> Self:
        host = urlsplit(self.store_endpoint).hostname or ""
        if self.store_addressing == "virtual" and (":" in host or host.replace(".", "").isdigit()):
            raise ValueError("store_addressing=virtual needs a store_endpoint with a host name")
        return self
