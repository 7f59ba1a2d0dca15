"""The nursery of decode children: loads the chains once, and forks for each clip or stream.

A child confines itself before it reads the first byte of its media. Its last message may be the
error that ended it.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import av

from service.domain.clip import ExtractionEvent
from service.errors import ClipError, DecoderOutOfMemory, FaceModelsMissing
from service.extraction.chain import extract_clip
from service.extraction.live_chain import extract_stream
from service.extraction.live_options import StreamDecodeRequest
from service.extraction.options import DecodeRequest, ForkserverConfig
from service.extraction.shortage import is_out_of_memory
from service.features.finder import open_face_finder
from service.features.sighting import FaceFinder
from service.media.source import ClipHandles
from service.nursery import cradle, live_wire, wire
from service.nursery.live_wire import StreamMessage
from service.nursery.pieces import read_pieces, read_snapshot
from service.sandbox.confinement import Confinement
from service.sandbox.limits import die_with_parent

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
        extract(lambda message: write(live_wire.encode(message)))
    except Exception as raised:
        error = DecoderOutOfMemory() if is_out_of_memory(raised) else raised
        if not isinstance(error, ClipError):
            raise
        write(wire.encode_error(error))


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
    control_socket = cradle.take_control_socket()
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
        cradle.report_ready(control_socket, code=error.code, detail=error.detail)
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

    cradle.report_ready(control_socket, lacking=confinement.missing_layers)
    cradle.serve(control_socket, work)


if __name__ == "__main__":
    main()
