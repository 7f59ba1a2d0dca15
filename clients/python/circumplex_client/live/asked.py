"""What the command's options ask for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from circumplex_client.live.cameras import watch
from circumplex_client.live.client import LiveClient, Tls
from circumplex_client.live.files import play
from circumplex_client.live.media import ContainerMedia, FrameMedia, LiveChoices, Piece
from circumplex_client.live.pipes import read_pipe

SCHEMES: Final = ("grpc", "grpcs")


def client_of(told: argparse.Namespace) -> LiveClient:
    """Raises ValueError for an address that is none, OSError for files that are not there."""
    address = urlsplit(told.url)
    if address.scheme not in SCHEMES or not address.netloc or address.path.strip("/"):
        raise ValueError(f"{told.url} is no address of streams: grpc://HOST:PORT, or grpcs://")
    files = (told.ca_file, told.cert_file, told.key_file)
    ca, certificate, key = (file and file.read_bytes() for file in files)
    tls = Tls(ca=ca, certificate=certificate, key=key) if address.scheme == "grpcs" else False
    return LiveClient(address.netloc, api_key=told.api_key, tls=tls)


def choices_of(told: argparse.Namespace) -> LiveChoices:
    media = FrameMedia()
    if told.camera is None:
        media = ContainerMedia(video_stream=told.video_stream, audio_stream=told.audio_stream)
    usual = "block" if told.camera is None else "drop_oldest"
    return LiveChoices(
        media=media,
        faces=told.faces,
        overload=told.overload or usual,
        finals_only=told.finals_only,
    )


def media_of(told: argparse.Namespace) -> AsyncGenerator[Piece]:
    if told.camera is not None:
        return watch(told.camera, kind=told.camera_kind)
    if told.source == "-":
        return read_pipe(sys.stdin.buffer)
    return play(Path(told.source), realtime=told.realtime)
