"""The state of an extraction as bytes: plain values as JSON, arrays beside it; nothing else.

JSON bytes u32 │ JSON │ arrays one after the other
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final

import numpy as np

_HEAD: Final = struct.Struct("<I")
_ARRAY: Final = "array"
_DTYPES: Final = ("float32", "int64", "int16", "uint8")

State = dict[str, Any]
"""Numbers, texts, truths, nothing, lists and dicts by text of these, and arrays."""


def pack(state: State) -> bytes:
    """A state as bytes; raises TypeError where it holds something else."""
    arrays: list[bytes] = []

    def plain(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"a state holds no {type(value).__name__}")
        found = np.asarray(value)
        arrays.append(found.tobytes())
        return {_ARRAY: [found.dtype.name, list(found.shape)]}

    text = json.dumps(state, default=plain, separators=(",", ":")).encode()
    return b"".join([_HEAD.pack(len(text)), text, *arrays])


def unpack(packed: bytes) -> State:
    """The same read back; raises ValueError, KeyError where it is no packed state."""
    (size,) = _HEAD.unpack_from(packed)
    place = _HEAD.size + size

    def revive(value: dict[str, Any]) -> Any:
        nonlocal place
        if value.keys() != {_ARRAY}:
            return value
        name, shape = value[_ARRAY]
        if name not in _DTYPES:
            raise ValueError("no array of a state")
        dtype, count = np.dtype(name), int(np.prod(shape))
        found = np.frombuffer(packed, dtype, count, place).reshape(shape)
        place += found.nbytes
        return found.copy()

    return json.loads(packed[_HEAD.size : place], object_hook=revive)
