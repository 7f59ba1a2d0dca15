"""Every knob of the service: one frozen object, read once from `CIRCUMPLEX_*` and passed down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=1, le=65_535)]


class Settings(BaseSettings):
    """Settings of gateway, worker and embedded stack.

    Each field is read from the environment variable `CIRCUMPLEX_<FIELD>`; an empty one is not set.
    """

    model_config = SettingsConfigDict(
        env_prefix="CIRCUMPLEX_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    # addresses
    host: str = Field(default="127.0.0.1", description="Address the gateway listens on.")
    http_port: Port = Field(default=8080, description="REST port of the gateway.")
    worker_metrics_port: Port = Field(default=9091, description="Port of the worker's /metrics.")
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", description="Redis that holds the jobs."
    )
    triton_url: str = Field(
        default="127.0.0.1:8001", description="host:port of Triton's gRPC endpoint."
    )

    # access
    access: Literal["auto", "keys", "open"] = Field(
        default="auto",
        description="Who is let in: holders of API keys, or everybody (open); "
        "auto: everybody, and only on a loopback address.",
    )
    key_requests_per_minute: int | None = Field(
        default=None, ge=1, description="Requests a minute of an API key without its own limit."
    )
    key_open_jobs: int | None = Field(
        default=None,
        ge=1,
        description="Jobs queued or running at a time of an API key without its own limit.",
    )
    key_stored_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Bytes of clips and results kept for an API key without its own limit.",
    )
    key_upload_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Largest upload, bytes, of an API key without its own limit.",
    )
    audit_file: Path | None = Field(
        default=None,
        description="Who did what is appended here too, a JSON line each; it is always logged.",
    )

    # folders
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

    # blob store
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
    store_plain_http: bool = Field(
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
    sweep_seconds: float = Field(
        default=600.0,
        ge=0.1,
        le=24 * 3600.0,
        description="From one search for blobs that no job knows to the next.",
    )
    sweep_grace_seconds: float = Field(
        default=3600.0,
        ge=0,
        description="A blob younger than this is left alone by the search.",
    )

    # what is accepted
    max_upload_bytes: int = Field(
        default=2 * 2**30, ge=1, description="Largest upload, bytes; more is refused with 413."
    )
    upload_idle_seconds: float = Field(
        default=30.0, gt=0, description="An upload that brings nothing for so long is ended: 408."
    )
    upload_least_bytes_per_second: float = Field(
        default=1024.0,
        ge=0,
        description="An upload slower than this, over upload_idle_seconds of waiting, is ended.",
    )
    request_head_seconds: float = Field(
        default=10.0, gt=0, description="A connection may take so long over a request's head: 408."
    )
    answer_stall_seconds: float = Field(
        default=30.0,
        gt=0,
        description="A client that takes no more of its answer for so long is cut off.",
    )
    most_connections: int = Field(
        default=1000, ge=1, description="Connections of the gateway at a time; more get 503."
    )
    most_connections_per_client: int = Field(
        default=500,
        ge=1,
        description="The same for one address. Behind a proxy all clients have the proxy's.",
    )
    max_clip_seconds: float = Field(
        default=12 * 3600.0, gt=0, description="Longest clip, seconds of presentation time."
    )
    max_clip_frames: int = Field(default=1_000_000, ge=1, description="Most frames of one clip.")
    max_frame_pixels: int = Field(
        default=8192 * 4320, ge=1, description="Most pixels of one frame, as coded."
    )

    max_wait_seconds: int = Field(
        default=60, ge=0, le=600, description="Longest that `Prefer: wait=N` is heeded, seconds."
    )
    max_watchers: int = Field(
        default=100,
        ge=1,
        description="Clients of one gateway that may wait for jobs or follow their events at once.",
    )

    # decoding
    decode_threads: int = Field(default=2, ge=1, le=64, description="Decoder threads of one clip.")
    decode_memory_bytes: int = Field(
        default=4 * 2**30,
        ge=2**28,
        description="Address-space headroom of the decode child, bytes.",
    )
    decode_stall_seconds: float = Field(
        default=60.0, gt=0, description="A decode child that yields nothing for so long is killed."
    )
    decode_wall_seconds: float = Field(
        default=12 * 3600.0,
        gt=0,
        description="Seconds one clip's decode child may be waited for, all in all.",
    )
    decode_cpu_seconds: int = Field(
        default=12 * 3600, ge=1, description="Processor time that one clip's decode child may take."
    )
    chunk_frames: int = Field(
        default=32, ge=1, le=300, description="Frames that travel to the backbones together."
    )

    # faces
    most_faces: int = Field(
        default=6, ge=1, le=8, description="Faces followed at a time, the largest; one a track."
    )
    least_face_pixels: float = Field(
        default=20.0,
        ge=1,
        description="Height of the smallest face that is followed, pixels of the displayed frame.",
    )

    # method
    window_frames: int = Field(
        default=300, ge=2, le=3000, description="Frames the fusion sees at once."
    )
    hop_frames: int = Field(
        default=200,
        ge=1,
        le=3000,
        description="Frames from one window to the next, at most a window.",
    )
    smoothing_seconds: float = Field(
        default=0.2,
        ge=0,
        le=10,
        description="Sigma of the Gaussian that smooths the points; 0 is off.",
    )

    # inference
    triton_timeout_seconds: float = Field(
        default=120.0, gt=0, description="Deadline of one inference request."
    )
    triton_shared_memory: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Crops through shared memory; auto: if Triton is on loopback and can open it.",
    )
    chunks_in_flight: int = Field(
        default=3, ge=1, le=32, description="Chunks of one clip at the backbones at the same time."
    )

    # jobs
    queue_name: str = Field(default="circumplex", description="Prefix of every key in Redis.")
    worker_concurrency: int = Field(
        default=2, ge=1, le=64, description="Clips one worker works on at once."
    )
    redelivery_seconds: float = Field(
        default=10.0,
        ge=1,
        description="A job whose worker has been silent so long goes to another.",
    )
    max_attempts: int = Field(
        default=5, ge=1, le=20, description="Workers a clip may take down before it is given up."
    )
    max_tries: int = Field(
        default=1500,
        ge=1,
        description="Times a job is put off, 64 s at most, while a part is away: a day or so.",
    )
    max_waiting_jobs: int = Field(
        default=10_000, ge=1, description="Jobs that may wait; more are refused with 429."
    )
    clip_ttl_seconds: float = Field(
        default=24 * 3600.0,
        ge=0,
        description="A finished job's clip is kept so long: it can be tried again.",
    )
    job_ttl_seconds: float = Field(
        default=7 * 24 * 3600.0,
        gt=0,
        description="A finished job and its results are kept so long, then deleted.",
    )
    drain_delay_seconds: float = Field(
        default=0.0,
        ge=0,
        description="A gateway told to stop is not ready, and still serves, for so long: "
        "the time in which whoever sends it requests notices.",
    )
    drain_seconds: float = Field(
        default=30.0, ge=0, description="Time a stopping process gives to what it is doing."
    )

    # embedded stack
    embedded_redis_port: Port = Field(default=16379, description="Port of the embedded Redis.")
    embedded_triton_http_port: Port = Field(default=18000, description="Embedded Triton, HTTP.")
    embedded_triton_grpc_port: Port = Field(default=18001, description="Embedded Triton, gRPC.")
    embedded_triton_metrics_port: Port = Field(
        default=18002, description="Embedded Triton, metrics."
    )

    # telemetry
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    log_format: Literal["text", "json"] = Field(default="text", description="Shape of a log line.")

    @model_validator(mode="after")
    def _windows_leave_no_gap(self) -> Self:
        if self.hop_frames > self.window_frames:
            raise ValueError("hop_frames must not exceed window_frames")
        return self

    @model_validator(mode="after")
    def _virtual_hosts_have_names(self) -> Self:
        host = urlsplit(self.store_endpoint).hostname or ""
        if self.store_addressing == "virtual" and (":" in host or host.replace(".", "").isdigit()):
            raise ValueError("store_addressing=virtual needs a store_endpoint with a host name")
        return self
