"""The nursery of decode children: loads the chain once, and forks it for each clip.

A child confines itself before it reads the first byte of its clip. Its last message may be the
error that ended it.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import av

from service.errors import ClipError, DecoderOutOfMemory, FaceModelsMissing
from service.extraction.chain import produce
from service.extraction.options import Options, Stock
from service.extraction.shortage import is_for_memory
from service.features.finder import open_finder
from service.features.sighting import FaceFinder
from service.media.source import HeldClip
from service.nursery import cradle, wire
from service.sandbox.confinement import Confinement
from service.sandbox.limits import die_with_parent

NUMPY_LATE: Final = (
    *("numpy.char", "numpy.ctypeslib", "numpy.fft", "numpy.linalg", "numpy.ma"),
    *("numpy.polynomial", "numpy.random", "numpy.rec", "numpy.strings"),
)


def _speak(clip: HeldClip, options: Options, finder: FaceFinder, pipe: BinaryIO) -> None:
    """Write every message of an extraction; its last one may be the error that ended it."""
    try:
        for message in produce(clip, options, finder):
            pipe.writelines(wire.encode(message))
            pipe.flush()
    except Exception as raised:
        error = DecoderOutOfMemory() if is_for_memory(raised) else raised
        if not isinstance(error, ClipError):
            raise
        pipe.writelines(wire.encode_error(error))
    pipe.flush()


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
            most_faces=stock.most_faces,
            least_pixels=stock.least_face_pixels,
        )
    except FaceModelsMissing as error:
        cradle.greet(door, code=error.code, detail=error.detail)
        return

    confinement = Confinement()

    def work(request: bytes, messages: int, files: Sequence[int]) -> None:
        options = Options(**json.loads(request))
        with os.fdopen(messages, "wb") as pipe:
            confinement.enter(memory_bytes=options.memory_bytes, cpu_seconds=options.cpu_seconds)
            _speak(HeldClip(files), options, finder, pipe)

    cradle.greet(door, lacking=confinement.lacking)
    cradle.tend(door, work)


if __name__ == "__main__":
    main()
