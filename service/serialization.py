"""Typed values as bytes: msgpack by msgspec, numpy arrays of a few element types included.

The one serialiser of the service: between a process and its decode processes, and for the
checkpoints of streams in Redis. Values are dataclasses, enums, containers and arrays; nothing
that is read can name code. Source: https://jcristharif.com/msgspec.
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar, get_args, get_origin

import msgspec
import numpy as np

T = TypeVar("T")

ELEMENT_TYPES: Final = frozenset(("float32", "float64", "int64", "int16", "uint8", "bool"))
"""Names of the numpy element types that an array may have."""


class MalformedDataError(ValueError):
    """These bytes are no value of the expected type."""


class _EncodedArray(msgspec.Struct, array_like=True, frozen=True):
    """An array as it travels: C order, the machine's byte order."""

    element_type: str
    shape: tuple[int, ...]
    data: memoryview


def encode(value: object) -> bytes:
    """Encode a value.

    Raises: TypeError: there is something in it that is no data.
    """
    return msgspec.msgpack.encode(value, enc_hook=_encode_array)


def decode(data: bytes | memoryview, expected: type[T]) -> T:
    """Decode a value and check it against its type; arrays are views of `data`, read-only.

    Raises: MalformedDataError: it is no such value, or there are bytes behind it.
    """
    try:
        return msgspec.msgpack.decode(data, type=expected, dec_hook=_decode_array)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise MalformedDataError(f"no {expected.__name__}: {error}") from error


def _encode_array(value: object) -> _EncodedArray:
    if not isinstance(value, np.ndarray) or value.dtype.name not in ELEMENT_TYPES:
        raise TypeError(f"a {type(value).__name__} cannot be encoded")
    array: np.ndarray[Any, Any] = np.ascontiguousarray(value)
    return _EncodedArray(array.dtype.name, array.shape, array.reshape(-1).view(np.uint8).data)


def _decode_array(expected: Any, value: Any) -> np.ndarray[Any, Any]:
    if get_origin(expected) is not np.ndarray and expected is not np.ndarray:
        raise TypeError(f"a {expected} cannot be decoded")
    encoded = msgspec.convert(value, _EncodedArray)
    (element,) = get_args(get_args(expected)[1]) if get_args(expected) else (None,)
    if encoded.element_type not in ELEMENT_TYPES:
        raise ValueError(f"an array of {encoded.element_type}")
    dtype = np.dtype(encoded.element_type)
    if element is not None and isinstance(element, type) and dtype != np.dtype(element):
        raise ValueError(f"an array of {dtype}, not of {np.dtype(element)}")
    if min(encoded.shape, default=0) < 0:
        raise ValueError("an array with a negative length")
    if math.prod(encoded.shape) * dtype.itemsize != len(encoded.data):
        raise ValueError("an array whose bytes do not fill its shape")
    return np.frombuffer(encoded.data, dtype).reshape(encoded.shape)
