"""The decode child: runs the chain and writes its messages to a pipe.

Its last message may be the error that ended it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import BinaryIO

from service.errors import ClipError, DecoderCrashed, FaceModelsMissing
from service.extraction.chain import produce
from service.extraction.options import Options
from service.features.finder import open_finder
from service.media import limits, wire


def _speak(options: Options, pipe: BinaryIO) -> None:
    """Write every message of an extraction; its last one may be the error that ended it."""
    try:
        yunet = None if options.yunet_file is None else Path(options.yunet_file)
        finder = open_finder(Path(options.face_models_dir), yunet)
        limits.confine(memory_bytes=options.memory_bytes, cpu_seconds=options.cpu_seconds)
        for message in produce(options, finder):
            pipe.writelines(wire.encode(message))
            pipe.flush()
    except (ClipError, FaceModelsMissing) as error:
        pipe.writelines(wire.encode_error(error))
    except MemoryError:
        error = DecoderCrashed("Decoding the clip needs more memory than allowed")
        pipe.writelines(wire.encode_error(error))
    pipe.flush()


def main() -> None:
    """The child: speak on what was standard output, which then joins standard error."""
    options = Options(**json.loads(sys.argv[1]))
    limits.die_with_parent(options.parent_pid)
    with os.fdopen(os.dup(1), "wb") as pipe:
        os.dup2(2, 1)
        _speak(options, pipe)
    os._exit(0)  # no teardown of decoder threads that may be in the middle of hostile media


if __name__ == "__main__":
    main()
