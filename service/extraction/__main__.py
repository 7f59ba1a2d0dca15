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

from service.domain.clip import Extract
from service.errors import ClipError, DecoderOutOfMemory, FaceModelsMissing
from service.extraction.chain import produce
from service.extraction.live_chain import follow
from service.extraction.live_options import LiveOptions
from service.extraction.options import Options, Stock
from service.extraction.shortage import is_for_memory
from service.features.finder import open_finder
from service.features.sighting import FaceFinder
from service.media.source import HeldClip
from service.nursery import cradle, live_wire, wire
from service.nursery.live_wire import LiveMessage
from service.nursery.pieces import read_pieces, read_state
from service.sandbox.confinement import Confinement
from service.sandbox.limits import die_with_parent

NUMPY_LATE: Final = (
    *("numpy.char", "numpy.ctypeslib", "numpy.fft", "numpy.linalg", "numpy.ma"),
    *("numpy.polynomial", "numpy.random", "numpy.rec", "numpy.strings"),
)

Say = Callable[[Extract | LiveMessage], None]


def _speak(pipe: BinaryIO, tell: Callable[[Say], None]) -> None:
    """Write every message of an extraction; its last one may be the error that ended it."""
    turn = threading.Lock()

    def write(parts: Sequence[bytes]) -> None:
        with turn:
            pipe.writelines(parts)
            pipe.flush()

    try:
        tell(lambda message: write(live_wire.encode(message)))
    except Exception as raised:
        error = DecoderOutOfMemory() if is_for_memory(raised) else raised
        if not isinstance(error, ClipError):
            raise
        write(wire.encode_error(error))


def _tell_clip(clip: HeldClip, options: Options, finder: FaceFinder, say: Say) -> None:
    for message in produce(clip, options, finder):
        say(message)


def _load_late_modules() -> None:
    """Import what PyAV and numpy import late, some of it when first used: a child could not."""
    found = [module.name for module in pkgutil.walk_packages(av.__path__, "av.")]
    for name in (*found, *NUMPY_LATE):
        if not name.endswith("__main__"):
            importlib.import_module(name)


def main() -> None:
    """Load, greet with what is missing if anything is, and have a child speak for each clip."""
    door = cradle.take_door()
    _load_late_modules()
    stock = Stock(**json.loads(sys.argv[1]))
    die_with_parent(stock.owner_pid)
    yunet = None if stock.yunet_file is None else Path(stock.yunet_file)
    try:
        finder = open_finder(
            Path(stock.face_models_dir),
            yunet,
            max_faces=stock.max_faces,
            min_pixels=stock.min_face_pixels,
        )
    except FaceModelsMissing as error:
        cradle.greet(door, code=error.code, detail=error.detail)
        return

    confinement = Confinement()

    def work(request: bytes, messages: int, files: Sequence[int]) -> None:
        fields = json.loads(request)
        live = LiveOptions.of_request(fields) if "live" in fields else None
        options = Options(**fields) if live is None else live.options
        with os.fdopen(messages, "wb") as pipe:
            confinement.enter(memory_bytes=options.memory_bytes, cpu_seconds=options.cpu_seconds)
            if live is None:
                _speak(pipe, partial(_tell_clip, HeldClip(files), options, finder))
            else:
                media = os.fdopen(files[0], "rb")
                state = read_state(media) if live.goes_on else None
                tell = partial(follow, live, read_pieces(media), finder, state=state)
                _speak(pipe, tell)

    cradle.greet(door, lacking=confinement.lacking)
    cradle.tend(door, work)


if __name__ == "__main__":
    main()
