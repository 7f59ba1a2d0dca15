"""Objects of a few known classes as bytes, and back: values travel, never code.

    magic │ length of the head │ head, JSON │ the arrays' bytes, one after the other

The head holds every object as its class and the values of its slots, by number, parts before
wholes; what is one object before is one object after. Floats and arrays keep every bit.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import numpy as np

from service.domain.array_types import UInt8Array

MAGIC: Final = b"CXP1"
HEADER_BYTES: Final = len(MAGIC) + 8
DTYPES: Final = frozenset(("<f4", "<f8", "<i8", "|u1", "|b1"))

_SCALAR_TYPES: Final = (type(None), bool, int, float, str)


class EncodedObjectInvalid(ValueError):
    """These bytes are no parcel of these classes."""


class ObjectCodec:
    """Packs objects whose classes have slots, enums, numpy arrays and Python's own containers."""

    def __init__(self, classes: Sequence[type]) -> None:
        self._classes = tuple(classes)
        self._class_numbers = {each: number for number, each in enumerate(self._classes)}

    @property
    def layout_hash(self) -> str:
        """Tells whether parcels of another version of these classes can be read."""
        told = [(each.__name__, *_slot_names(each)) for each in self._classes]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def encode(self, root: object) -> bytes:
        """Raises TypeError: there is something in it that no parcel holds."""
        return _ObjectEncoder(self._class_numbers).encode(root)

    def decode(self, data: bytes) -> Any:
        """Raises ParcelUnreadable."""
        try:
            return _ObjectDecoder(self._classes, data).decode()
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise EncodedObjectInvalid(str(error)) from error


class _ObjectEncoder:
    def __init__(self, class_numbers: dict[type, int]) -> None:
        self._class_numbers = class_numbers
        self._objects: list[list[Any]] = []
        self._object_indices: dict[int, int] = {}
        self._arrays: list[list[Any]] = []
        self._array_indices: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def encode(self, root: object) -> bytes:
        told = self._encode_value(root)
        head = {"root": told, "objects": self._objects, "arrays": self._arrays}
        text = json.dumps(head, separators=(",", ":")).encode()
        parts = (data for _, _, data in self._array_indices)
        return b"".join((MAGIC, len(text).to_bytes(8, "little"), text, *parts))

    def _encode_value(self, value: Any) -> Any:
        kind = type(value)
        if kind in _SCALAR_TYPES:
            return value
        if kind is list:
            return [self._encode_value(each) for each in value]
        if kind is tuple:
            return {"t": [self._encode_value(each) for each in value]}
        if kind is deque:
            return {"q": [self._encode_value(each) for each in value], "most": value.maxlen}
        if kind is dict:
            return {
                "d": [
                    [self._encode_value(key), self._encode_value(each)]
                    for key, each in value.items()
                ]
            }
        if kind is bytes:
            return {"b": self._add_array(np.frombuffer(value, np.uint8))}
        if kind is np.ndarray:
            return {"a": self._add_array(value)}
        return self._encode_object(value, kind)

    def _encode_object(self, value: Any, kind: type) -> Any:
        number = self._class_numbers.get(kind)
        if number is None:
            raise TypeError(f"no parcel holds a {kind.__name__}")
        if issubclass(kind, Enum):
            return {"e": number, "is": value.value}
        place = self._object_indices.get(id(value))
        if place is None:
            slots = [self._encode_value(getattr(value, name)) for name in _slot_names(kind)]
            place = len(self._objects)
            self._objects.append([number, *slots])
            self._object_indices[id(value)] = place
        return {"o": place}

    def _add_array(self, array: np.ndarray) -> int:
        """Where it is among the arrays; one that is there already is not written again."""
        if array.dtype.str not in DTYPES:
            raise TypeError(f"no parcel holds an array of {array.dtype}")
        known = (array.dtype.str, array.shape, array.tobytes())
        place = self._array_indices.setdefault(known, len(self._arrays))
        if place == len(self._arrays):
            self._arrays.append([array.dtype.str, list(array.shape)])
        return place


class _ObjectDecoder:
    def __init__(self, classes: Sequence[type], data: bytes) -> None:
        self._classes = classes
        self._data = data
        self._objects: list[Any] = []
        self._arrays: list[UInt8Array] = []

    def decode(self) -> Any:
        if self._data[: len(MAGIC)] != MAGIC:
            raise EncodedObjectInvalid("not a parcel")
        end = HEADER_BYTES + int.from_bytes(self._data[len(MAGIC) : HEADER_BYTES], "little")
        head = json.loads(self._data[HEADER_BYTES:end])
        self._read_arrays(head["arrays"], end)
        for number, *slots in head["objects"]:
            self._objects.append(self._build_object(self._classes[number], slots))
        return self._decode_value(head["root"])

    def _read_arrays(self, array_specs: list[tuple[str, list[int]]], offset: int) -> None:
        for dtype, shape in array_specs:
            if dtype not in DTYPES:
                raise EncodedObjectInvalid(f"an array of {dtype}")
            count = math.prod(shape)
            flat = np.frombuffer(self._data, np.dtype(dtype), count, offset)
            self._arrays.append(flat.reshape(shape))
            offset += flat.nbytes
        if offset != len(self._data):
            raise EncodedObjectInvalid("more or fewer bytes than it says")

    def _build_object(self, kind: type, slot_values: list[Any]) -> Any:
        made = object.__new__(kind)
        for name, value in zip(_slot_names(kind), slot_values, strict=True):
            object.__setattr__(made, name, self._decode_value(value))
        return made

    def _decode_value(self, encoded: Any) -> Any:
        if isinstance(encoded, list):
            return [self._decode_value(each) for each in encoded]
        match encoded:
            case {"o": place}:
                return self._objects[place]
            case {"a": place}:
                return self._arrays[place].copy()
            case {"b": place}:
                return self._arrays[place].tobytes()
            case {"t": items}:
                return tuple(self._decode_value(each) for each in items)
            case {"d": items}:
                return {self._decode_value(key): self._decode_value(value) for key, value in items}
            case {"q": items, "most": most}:
                return deque((self._decode_value(each) for each in items), most)
            case {"e": number, "is": value}:
                return self._classes[number](value)
            case _:
                return encoded


def _slot_names(kind: type) -> tuple[str, ...]:
    """The names of an object's values; none for an enum."""
    return () if issubclass(kind, Enum) else tuple(vars(kind)["__slots__"])
