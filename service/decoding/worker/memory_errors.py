"""Tells a want of memory from every other failure, whoever met it first."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Generator
from typing import Final

import cv2
import numpy as np

from service.errors import ClipWithoutFrames, DecoderOutOfMemory

_PICTURE_BYTES_PER_PIXEL: Final = 8
"""The room in which one picture can be decoded and shown: 7.6 to 9.5 where it was measured."""


@contextlib.contextmanager
def translate_out_of_memory(pixels: int) -> Generator[None]:
    """Say so where there are no frames since there is no room for one.

    FFmpeg's decoders report a buffer that they did not get as damage of the clip.

    Args: pixels: of one picture.
    Raises: DecoderOutOfMemory instead of ClipWithoutFrames.
    """
    try:
        yield
    except ClipWithoutFrames as error:
        try:
            np.empty(pixels * _PICTURE_BYTES_PER_PIXEL, np.uint8)
        except MemoryError:
            raise DecoderOutOfMemory() from error
        raise


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one it came of, says that memory ran out.

    Python, numpy and FFmpeg raise MemoryError, OpenCV a code of its own, and a thread that finds
    no room for its stack is a RuntimeError of Python, ENOMEM or EAGAIN of others.
    """
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem:
            return True
        if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN):
            return True
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
