"""The nursery of decode children: loads the chains once, and forks for each clip or stream.

A child confines itself before it reads the first byte of its media. Its last message may be the
error that ended it.

Which chain of stages a stream's media go through.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import av

from service.decoding.forkserver import loop
from service.decoding.protocol import messages, stream_messages
from service.decoding.protocol.media_input import read_pieces, read_snapshot
from service.decoding.protocol.stream_messages import StreamMessage
from service.decoding.requests import DecodeRequest, ForkserverConfig, StreamDecodeRequest
from service.decoding.sandbox.confinement import Confinement
from service.decoding.sandbox.resource_limits import die_with_parent
from service.decoding.worker.clip import extract_clip
from service.decoding.worker.container_stream import extract_container
from service.decoding.worker.frame_stream import extract_frames
from service.decoding.worker.memory_errors import is_out_of_memory
from service.domain.clip import ExtractionEvent
from service.domain.stream import FrameStreamMedia, StreamInput
from service.errors import ClipError, DecoderOutOfMemory, FaceModelsMissing
from service.faces.detections import FaceFinder
from service.faces.finder import open_face_finder
from service.media.clip_handles import ClipHandles

LAZY_NUMPY_MODULES: Final = (
    *("numpy.char", "numpy.ctypeslib", "numpy.fft", "numpy.linalg", "numpy.ma"),
    *("numpy.polynomial", "numpy.random", "numpy.rec", "numpy.strings"),
)

Emit = Callable[[ExtractionEvent | StreamMessage], None]


def _write_messages(pipe: BinaryIO, extract: Callable[[Emit], None]) -> None:
    """Write every message of an extraction; its last one may be the error that ended it."""
    turn = threading.Lock()

    def write(parts: Sequence[bytes]) -> None:
        with turn:
            pipe.writelines(parts)
            pipe.flush()

    try:
        extract(lambda message: write(stream_messages.encode(message)))
    except Exception as raised:
        error = DecoderOutOfMemory() if is_out_of_memory(raised) else raised
        if not isinstance(error, ClipError):
            raise
        write(messages.encode_error(error))


def _emit_clip(clip: ClipHandles, options: DecodeRequest, finder: FaceFinder, emit: Emit) -> None:
    for message in extract_clip(clip, options, finder):
        emit(message)


def _import_lazy_modules() -> None:
    """Import what PyAV and numpy import late, some of it when first used: a child could not."""
    found = [module.name for module in pkgutil.walk_packages(av.__path__, "av.")]
    for name in (*found, *LAZY_NUMPY_MODULES):
        if not name.endswith("__main__"):
            importlib.import_module(name)


def main() -> None:
    """Load, greet with what is missing if anything is, and have a child speak for each clip."""
    control_socket = loop.take_control_socket()
    _import_lazy_modules()
    config = ForkserverConfig(**json.loads(sys.argv[1]))
    die_with_parent(config.owner_pid)
    yunet = None if config.yunet_file is None else Path(config.yunet_file)
    try:
        finder = open_face_finder(
            Path(config.face_models_dir),
            yunet,
            max_faces=config.max_faces,
            min_pixels=config.min_face_pixels,
        )
    except FaceModelsMissing as error:
        loop.report_ready(control_socket, code=error.code, detail=error.detail)
        return

    confinement = Confinement()

    def work(request: bytes, messages: int, files: Sequence[int]) -> None:
        fields = json.loads(request)
        live = StreamDecodeRequest.from_json(fields) if "live" in fields else None
        options = DecodeRequest(**fields) if live is None else live.options
        with os.fdopen(messages, "wb") as pipe:
            confinement.enter(memory_bytes=options.memory_bytes, cpu_seconds=options.cpu_seconds)
            if live is None:
                _write_messages(pipe, partial(_emit_clip, ClipHandles(files), options, finder))
            else:
                media = os.fdopen(files[0], "rb")
                state = read_snapshot(media) if live.has_snapshot else None
                tell = partial(extract_stream, live, read_pieces(media), finder, state=state)
                _write_messages(pipe, tell)

    loop.report_ready(control_socket, lacking=confinement.missing_layers)
    loop.serve(control_socket, work)


def extract_stream(
    request: StreamDecodeRequest,
    pieces: Iterator[StreamInput],
    finder: FaceFinder,
    emit: Callable[[StreamMessage], None],
    state: bytes | None = None,
) -> None:
    """Say what becomes of the pieces of a stream's media, until they end.

    Args: state: of a Snapshot of single frames, to go on from.
    Raises: ClipError.
    """
    if isinstance(request.media, FrameStreamMedia):
        extract_frames(request.media, request.options, pieces, finder, emit, state)
    else:
        extract_container(request.options, pieces, finder, emit)


if __name__ == "__main__":
    main()
