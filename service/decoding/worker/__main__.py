"""The forkserver of decode processes: loads the stages once, and forks for each clip or stream.

A decode process confines itself before it reads the first byte of its media. Its last message
may be the error that ended it.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import av

from service.decoding.forkserver import loop
from service.decoding.protocol.messages import WorkerMessage, encode_error, encode_message
from service.decoding.requests import DecodeRequest, ForkserverConfig, ForkserverReady, read_input
from service.decoding.sandbox.confinement import Confinement
from service.decoding.sandbox.restrictions import die_with_parent
from service.decoding.worker.clip import extract_clip, is_out_of_memory
from service.decoding.worker.container_stream import extract_container
from service.decoding.worker.frame_stream import extract_frames
from service.errors import ClipError, DecoderCrashed, DecoderOutOfMemory, FaceModelsMissing
from service.faces.detections import FaceFinder
from service.faces.finder import open_face_finder
from service.media.clip_handles import ClipHandles
from service.serialization import decode

LAZY_NUMPY_MODULES: Final = (
    *("numpy.char", "numpy.ctypeslib", "numpy.fft", "numpy.linalg", "numpy.ma"),
    *("numpy.polynomial", "numpy.random", "numpy.rec", "numpy.strings"),
)

Emit = Callable[[WorkerMessage], None]


def main() -> None:
    """Load everything, report that or the error, and fork a process for each request."""
    control_socket = loop.take_control_socket()
    _import_lazy_modules()
    config = decode(loop.receive_config(control_socket), ForkserverConfig)
    die_with_parent(config.owner_pid)
    try:
        finder = open_face_finder(
            Path(config.face_models_dir),
            None if config.yunet_file is None else Path(config.yunet_file),
            max_faces=config.max_faces,
            min_pixels=config.min_face_pixels,
        )
    except FaceModelsMissing as error:
        loop.report_ready(
            control_socket, ForkserverReady(error_code=error.code, error_detail=error.detail)
        )
        return
    task = _DecodeTask(finder=finder, confinement=Confinement())
    loop.report_ready(
        control_socket, ForkserverReady(missing_layers=task.confinement.missing_layers)
    )
    # Decode processes share these objects' pages: a collection there would copy them all.
    gc.collect()
    gc.freeze()
    loop.serve(control_socket, task)


def _import_lazy_modules() -> None:
    """Import what PyAV and numpy import on first use: a confined process cannot."""
    found = [module.name for module in pkgutil.walk_packages(av.__path__, "av.")]
    for name in (*found, *LAZY_NUMPY_MODULES):
        if not name.endswith("__main__"):
            importlib.import_module(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _DecodeTask:
    """A `WorkerTask`: one extraction in a forked process."""

    finder: FaceFinder
    confinement: Confinement

    def __call__(self, request: bytes, messages: int, files: Sequence[int]) -> None:
        options = decode(request, DecodeRequest)
        with os.fdopen(messages, "wb") as pipe:
            self.confinement.enter(
                memory_bytes=options.memory_bytes, cpu_seconds=options.cpu_seconds
            )
            _write_messages(pipe, lambda emit: self._extract(options, files, emit))

    def _extract(self, options: DecodeRequest, files: Sequence[int], emit: Emit) -> None:
        if options.stream is None:
            for message in extract_clip(ClipHandles(files), options, self.finder):
                emit(message)
        else:
            pieces = read_input(os.fdopen(files[0], "rb"))
            if options.stream.frames is None:
                extract_container(options, pieces, self.finder, emit)
            else:
                extract_frames(options.stream.frames, options, pieces, self.finder, emit)


def _write_messages(pipe: BinaryIO, extract: Callable[[Emit], None]) -> None:
    """Write every message of an extraction; its last one may be the error that ended it.

    An error that is not the clip's own, a defect, is no verdict on the clip: it is reported as a
    crash of the decode process with its text, and raised.
    """
    writing = threading.Lock()

    def write(parts: Sequence[bytes]) -> None:
        with writing:
            pipe.writelines(parts)
            pipe.flush()

    try:
        extract(lambda message: write(encode_message(message)))
    except Exception as raised:
        error = DecoderOutOfMemory() if is_out_of_memory(raised) else raised
        if isinstance(error, ClipError):
            write(encode_error(error))
            return
        write(
            encode_error(DecoderCrashed(f"The decoder failed: {type(raised).__name__}: {raised}"))
        )
        raise


if __name__ == "__main__":
    main()
