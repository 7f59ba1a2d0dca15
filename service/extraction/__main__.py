"""The nursery of decode children: loads the chain once, and forks it for each clip.

A child's last message may be the error that ended it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from service.errors import ClipError, DecoderCrashed, FaceModelsMissing
from service.extraction.chain import produce
from service.extraction.options import Options, Stock
from service.features.finder import open_finder
from service.features.sighting import FaceFinder
from service.media import cradle, limits, wire


def _speak(options: Options, finder: FaceFinder, pipe: BinaryIO) -> None:
    """Write every message of an extraction; its last one may be the error that ended it."""
    try:
        limits.confine(memory_bytes=options.memory_bytes, cpu_seconds=options.cpu_seconds)
        for message in produce(options, finder):
            pipe.writelines(wire.encode(message))
            pipe.flush()
    except ClipError as error:
        pipe.writelines(wire.encode_error(error))
    except MemoryError:
        error = DecoderCrashed("Decoding the clip needs more memory than allowed")
        pipe.writelines(wire.encode_error(error))
    pipe.flush()


def main() -> None:
    """Load, greet with what is missing if anything is, and have a child speak for each clip."""
    door = cradle.take_door()
    stock = Stock(**json.loads(sys.argv[1]))
    limits.die_with_parent(stock.owner_pid)
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

    def work(request: bytes, messages: int, _files: Sequence[int]) -> None:
        with os.fdopen(messages, "wb") as pipe:
            _speak(Options(**json.loads(request)), finder, pipe)

    cradle.greet(door)
    cradle.tend(door, work)


if __name__ == "__main__":
    main()
