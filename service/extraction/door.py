"""From a clip file to chunks of frames, as the worker sees it: a child process does the work.

The child holds the hostile media; the parent only ever sees checked messages of bounded size.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from service.domain.choices import Choices
from service.domain.clip import Extract
from service.extraction.options import Options
from service.media.child import run_child
from service.settings import Settings

_CHILD: Final = "service.extraction"
"""The package's `__main__`."""


def extract(
    clip: Path, choices: Choices, settings: Settings
) -> AbstractAsyncContextManager[AsyncIterator[Extract]]:
    """Open a clip in a child process and yield ClipOpened, its chunks, and ClipClosed.

    The child works ahead until its pipe is full. Leaving the context ends it, read or not.

    Raises, while reading: ClipError, DecoderKilled, FaceModelsMissing.
    """
    return run_child(
        _CHILD,
        [json.dumps(asdict(Options.of(clip, choices, settings)))],
        stall_seconds=settings.decode_stall_seconds,
        cpu_seconds=settings.decode_cpu_seconds,
        most_frames=settings.chunk_frames,
    )
