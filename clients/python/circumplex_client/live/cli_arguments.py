"""What the command's options ask for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from circumplex_client.live.camera_source import capture_camera
from circumplex_client.live.client import LiveClient, Tls
from circumplex_client.live.file_source import stream_file
from circumplex_client.live.media import ContainerInput, FrameInput, LiveStreamOptions, MediaChunk
from circumplex_client.live.pipe_source import read_pipe

SCHEMES: Final = ("grpc", "grpcs")


def build_client(args: argparse.Namespace) -> LiveClient:
    """Raises ValueError for an address that is none, OSError for files that are not there."""
    address = urlsplit(args.url)
    if address.scheme not in SCHEMES or not address.netloc or address.path.strip("/"):
        raise ValueError(f"{args.url} is no address of streams: grpc://HOST:PORT, or grpcs://")
    files = (args.ca_file, args.cert_file, args.key_file)
    ca, certificate, key = (file and file.read_bytes() for file in files)
    tls = Tls(ca=ca, certificate=certificate, key=key) if address.scheme == "grpcs" else False
    return LiveClient(address.netloc, api_key=args.api_key, tls=tls)


def build_options(args: argparse.Namespace) -> LiveStreamOptions:
    media = FrameInput()
    if args.camera is None:
        media = ContainerInput(video_stream=args.video_stream, audio_stream=args.audio_stream)
    default_overload = "block" if args.camera is None else "drop_oldest"
    return LiveStreamOptions(
        media=media,
        faces=args.faces,
        overload=args.overload or default_overload,
        finals_only=args.finals_only,
    )


def open_media(args: argparse.Namespace) -> AsyncGenerator[MediaChunk]:
    if args.camera is not None:
        return capture_camera(args.camera, kind=args.camera_kind)
    if args.source == "-":
        return read_pipe(sys.stdin.buffer)
    return stream_file(Path(args.source), realtime=args.realtime)
