"""Settings of the network: addresses, ports, TLS and access control."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from service.settings.base import Port, SettingsGroup


class Network(SettingsGroup):
    """Network: addresses of the servers, and TLS."""

    host: str = Field(default="127.0.0.1", description="Listen address of the gateway.")
    http_port: Port = Field(default=8080, description="REST port of the gateway.")
    grpc_port: Port = Field(default=50051, description="gRPC port of the gateway.")
    worker_metrics_port: Port = Field(
        default=9091, description="Port of the worker's metrics, at /metrics."
    )
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", description="URL of Redis, which holds the job queue."
    )
    triton_url: str = Field(
        default="127.0.0.1:8001", description="host:port of Triton's gRPC endpoint."
    )

    grpc_keepalive_seconds: float = Field(
        default=60.0,
        ge=1,
        description="Interval of keep-alive pings to idle gRPC clients, seconds; a client that "
        "does not respond within 20 s is disconnected.",
    )
    tls_cert_file: Path | None = Field(
        default=None,
        description="Certificate chain of the gRPC port, PEM; unset: no TLS.",
    )
    tls_key_file: Path | None = Field(
        default=None, description="Private key of the certificate, PEM."
    )
    tls_client_ca_file: Path | None = Field(
        default=None,
        description="CA of the certificates that gRPC clients must present, PEM; "
        "unset: none is required.",
    )

    @model_validator(mode="after")
    def _check_tls_files(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file belong together")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_client_ca_file needs tls_cert_file")
        return self


class AccessControl(SettingsGroup):
    """Access control: API keys, their default limits, web pages, and the audit log."""

    access: Literal["auto", "keys", "open"] = Field(
        default="auto",
        description="Access mode: API keys required (keys), or none (open); "
        "auto: open on a loopback address, otherwise the gateway does not start.",
    )
    allowed_hosts: str = Field(
        default="",
        pattern=r"^(\*|[A-Za-z0-9.:_~-]+([ ,]+[A-Za-z0-9.:_~-]+)*)?$",
        description="Names, without a port, by which the gateway is reached, separated by commas; "
        "*: all. Unset: with API keys all, without them none. Always allowed: `host`, localhost, "
        "loopback addresses and, unless `host` is one, every address and every name without a "
        "dot. Requests to another Host are answered with 403.",
    )
    allowed_origins: str = Field(
        default="",
        pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\s,]+([ ,]+[a-z][a-z0-9+.-]*://[^/\s,]+)*)?$",
        description="Origins of web pages that may use the gateway, as https://example.org, "
        "separated by commas; *: all; unset: the gateway's own origin. Pages of other origins are "
        "answered with 403.",
    )
    key_requests_per_minute: int | None = Field(
        default=None, ge=1, description="Default rate limit of an API key, requests per minute."
    )
    key_open_jobs: int | None = Field(
        default=None,
        ge=1,
        description="Default maximum number of queued and running jobs of an API key, or of an "
        "address where none is required; unset: client_share of max_queued_jobs.",
    )
    key_stored_jobs: int = Field(
        default=50_000,
        ge=1,
        description="Default maximum number of jobs of an API key or address in any state, until "
        "they expire or are deleted.",
    )
    key_stored_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Default maximum size of the stored clips and results of an API key or "
        "address, bytes; unset: client_share of what the blob store can hold.",
    )
    client_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of the queue and of the blob store that one API key or address may "
        "use, where key_open_jobs or key_stored_bytes is unset; 1: the whole.",
    )
    key_upload_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Default maximum size of an upload of an API key, bytes.",
    )
    audit_file: Path | None = Field(
        default=None,
        description="File to which the audit log is appended as JSON lines; it is always "
        "written to the log as well.",
    )


class EmbeddedPorts(SettingsGroup):
    """Embedded stack: ports of its servers."""

    embedded_redis_port: Port = Field(default=16379, description="Port of the embedded Redis.")
    embedded_triton_http_port: Port = Field(
        default=18000, description="HTTP port of the embedded Triton."
    )
    embedded_triton_grpc_port: Port = Field(
        default=18001, description="gRPC port of the embedded Triton."
    )
    embedded_triton_metrics_port: Port = Field(
        default=18002, description="Metrics port of the embedded Triton."
    )
