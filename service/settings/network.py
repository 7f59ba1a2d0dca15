"""Where the parts of the service are, and who may come in."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from service.settings.base import Port, SettingsGroup


class Network(SettingsGroup):
    """Where each part listens or is found."""

    host: str = Field(default="127.0.0.1", description="Address the gateway listens on.")
    http_port: Port = Field(default=8080, description="REST port of the gateway.")
    grpc_port: Port = Field(default=50051, description="gRPC port of the gateway.")
    worker_metrics_port: Port = Field(default=9091, description="Port of the worker's /metrics.")
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", description="Redis that holds the jobs."
    )
    triton_url: str = Field(
        default="127.0.0.1:8001", description="host:port of Triton's gRPC endpoint."
    )

    grpc_keepalive_seconds: float = Field(
        default=60.0,
        ge=1,
        description="A gRPC client from whom nothing comes is asked so often whether it is there; "
        "one that does not answer for 20 s is gone.",
    )
    tls_cert_file: Path | None = Field(
        default=None,
        description="Certificate of the gRPC port, with the chain to its CA, PEM. "
        "Without it there is no TLS.",
    )
    tls_key_file: Path | None = Field(
        default=None, description="Private key of the certificate, PEM."
    )
    tls_client_ca_file: Path | None = Field(
        default=None,
        description="CA whose certificates gRPC clients have to show, PEM; "
        "without it none is asked for.",
    )

    @model_validator(mode="after")
    def _check_tls_files(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file belong together")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_client_ca_file needs tls_cert_file")
        return self


class AccessControl(SettingsGroup):
    """Who is let in, and how much of it."""

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
