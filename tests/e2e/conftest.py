"""Fixtures of the end-to-end tests: one embedded stack, as `make up` runs it, and its clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import pytest
from circumplex_client import Client

from service.embedded.stack import Stack, isolate_settings, run_stack
from service.settings import YARDSTICK, Settings
from training.synthetic.clip import render_demo_clip

CLIP_SECONDS = 3.0
MAX_UPLOAD_BYTES = 4 * 2**20
MAX_CLIP_SECONDS = 30.0


@pytest.fixture(scope="session")
def stack(
    triton_dir: Path, mini_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    limited = Settings(
        runtime_dir=triton_dir.parent,
        face_models_dir=triton_dir.parent / "faces",
        models=YARDSTICK,
        model_repository=mini_repository,
        max_upload_bytes=MAX_UPLOAD_BYTES,
        max_clip_seconds=MAX_CLIP_SECONDS,
        lease_seconds=3.0,
        websocket_origins="*",
    )
    with run_stack(isolate_settings(limited, tmp_path_factory.mktemp("stack"))) as running:
        yield running


@pytest.fixture(scope="session")
def address(stack: Stack) -> str:
    return f"http://{stack.settings.host}:{stack.settings.http_port}"


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


@pytest.fixture(scope="session")
def talking_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of a drawn face and its voice."""
    path = tmp_path_factory.mktemp("clips") / "talking.mp4"
    render_demo_clip(path, seconds=CLIP_SECONDS)
    return path


@pytest.fixture(scope="session")
def jpegs(talking_clip: Path) -> list[bytes]:
    """The frames of the talking clip as JPEG files."""
    with av.open(talking_clip) as clip:
        images = [frame.to_ndarray(format="bgr24") for frame in clip.decode(video=0)]
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in images]


@pytest.fixture(scope="session")
def target(stack: Stack) -> str:
    """Address of the gRPC port."""
    return f"{stack.settings.host}:{stack.settings.grpc_port}"
