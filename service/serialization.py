"""Serialisation of typed values: msgpack (msgspec), with numpy arrays stored separately.

    [plain values, [bytes of array 0, bytes of array 1, ..]]

Used between a process and its decode processes, and for the checkpoints of streams in Redis.
Values are dataclasses, enums, containers and arrays; unlike pickle, decoding cannot run code.
Arrays are separate, so that a limit on the plain values bounds the memory for decoding hostile
bytes: a plain value of one byte becomes an object of dozens of bytes.

Source: https://jcristharif.com/msgspec.
"""

from __future__ import annotations

import math
import sys
from typing import Annotated, Any, Final, TypeGuard, TypeVar, get_args, get_origin

import msgspec
import numpy as np

T = TypeVar("T")

ELEMENT_TYPES: Final = frozenset(("float32", "float64", "int64", "int16", "uint8", "bool"))
"""Names of the numpy element types that an array may have."""
_MAX_DIMENSIONS: Final = 8
_MAX_ARRAYS: Final = 1 << 16


class MalformedDataError(ValueError):
    """The bytes do not encode a value of the expected type."""


class _ArrayReference(msgspec.Struct, array_like=True, frozen=True):
    """Reference to an array among plain values: its type, shape and place in the list of arrays."""

    element_type: str
    shape: Annotated[tuple[int, ...], msgspec.Meta(max_length=_MAX_DIMENSIONS)]
    place: int


class _Document(msgspec.Struct, array_like=True, frozen=True):
    """An encoded value. Arrays are in C order and the machine's byte order."""

    plain: msgspec.Raw
    arrays: Annotated[list[memoryview], msgspec.Meta(max_length=_MAX_ARRAYS)]


def encode(value: object) -> bytes:
    """Encode a value.

    Raises: TypeError: it contains something that is no data.
    """
    arrays: list[memoryview] = []

    def reference(found: object) -> _ArrayReference:
        if not _is_array(found) or found.dtype.name not in ELEMENT_TYPES:
            raise TypeError(f"a {type(found).__name__} cannot be encoded")
        arrays.append(np.ascontiguousarray(found).reshape(-1).view(np.uint8).data)
        return _ArrayReference(found.dtype.name, found.shape, len(arrays) - 1)

    plain = msgspec.msgpack.encode(value, enc_hook=reference)
    return msgspec.msgpack.encode(_Document(msgspec.Raw(plain), arrays))


def decode(data: bytes | memoryview, expected: type[T], *, max_plain_bytes: int = sys.maxsize) -> T:
    """Decode a value and check it against its type; arrays are read-only.

    Args: max_plain_bytes: limit of all but the arrays.
    Raises: MalformedDataError: it is no such value, or bytes follow it.
    """
    try:
        document = msgspec.msgpack.decode(data, type=_Document)
        plain = memoryview(document.plain)
        if len(plain) > max_plain_bytes:
            raise MalformedDataError(f"{len(plain)} bytes of plain values")
        return msgspec.msgpack.decode(
            plain,
            type=expected,
            dec_hook=lambda kind, found: _read_array(kind, found, document.arrays),
        )
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise MalformedDataError(f"no {expected.__name__}: {error}") from error


def _is_array(value: object) -> TypeGuard[np.ndarray[Any, Any]]:
    return isinstance(value, np.ndarray)


def _read_array(expected: Any, found: Any, arrays: list[memoryview]) -> np.ndarray[Any, Any]:
    if get_origin(expected) is not np.ndarray and expected is not np.ndarray:
        raise TypeError(f"a {expected} cannot be decoded")
    reference = msgspec.convert(found, _ArrayReference)
    (element,) = get_args(get_args(expected)[1]) if get_args(expected) else (None,)
    if reference.element_type not in ELEMENT_TYPES:
        raise ValueError(f"an array of {reference.element_type}")
    dtype = np.dtype(reference.element_type)
    if element is not None and isinstance(element, type) and dtype != np.dtype(element):
        raise ValueError(f"an array of {dtype}, not of {np.dtype(element)}")
    if not 0 <= reference.place < len(arrays):
        raise ValueError("an array that is not there")
    data = arrays[reference.place]
    if min(reference.shape, default=0) < 0:
        raise ValueError("an array with a negative length")
    if math.prod(reference.shape) * dtype.itemsize != len(data):
        raise ValueError("an array whose bytes do not fill its shape")
    array = np.frombuffer(data, dtype).reshape(reference.shape)
    if not array.flags.aligned:
        array = array.copy()
        array.flags.writeable = False
    return array
