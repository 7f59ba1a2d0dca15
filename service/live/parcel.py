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

from service.domain.arrays import Bytes

MAGIC: Final = b"CXP1"
HEAD_BYTES: Final = len(MAGIC) + 8
DTYPES: Final = frozenset(("<f4", "<f8", "<i8", "|u1", "|b1"))

_PLAIN: Final = (type(None), bool, int, float, str)


class ParcelUnreadable(ValueError):
    """These bytes are no parcel of these classes."""


class Parcels:
    """Packs objects whose classes have slots, enums, numpy arrays and Python's own containers."""

    def __init__(self, classes: Sequence[type]) -> None:
        self._classes = tuple(classes)
        self._numbers = {each: number for number, each in enumerate(self._classes)}

    @property
    def layout(self) -> str:
        """Tells whether parcels of another version of these classes can be read."""
        told = [(each.__name__, *_slots_of(each)) for each in self._classes]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def pack(self, root: object) -> bytes:
        """Raises TypeError: there is something in it that no parcel holds."""
        return _Packing(self._numbers).pack(root)

    def unpack(self, parcel: bytes) -> Any:
        """Raises ParcelUnreadable."""
        try:
            return _Unpacking(self._classes, parcel).unpack()
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ParcelUnreadable(str(error)) from error


class _Packing:
    def __init__(self, numbers: dict[type, int]) -> None:
        self._numbers = numbers
        self._objects: list[list[Any]] = []
        self._places: dict[int, int] = {}
        self._arrays: list[list[Any]] = []
        self._bytes: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def pack(self, root: object) -> bytes:
        told = self._tell(root)
        head = {"root": told, "objects": self._objects, "arrays": self._arrays}
        text = json.dumps(head, separators=(",", ":")).encode()
        parts = (data for _, _, data in self._bytes)
        return b"".join((MAGIC, len(text).to_bytes(8, "little"), text, *parts))

    def _tell(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is list:
            return [self._tell(each) for each in value]
        if kind is tuple:
            return {"t": [self._tell(each) for each in value]}
        if kind is deque:
            return {"q": [self._tell(each) for each in value], "most": value.maxlen}
        if kind is dict:
            return {"d": [[self._tell(key), self._tell(each)] for key, each in value.items()]}
        if kind is bytes:
            return {"b": self._place_array(np.frombuffer(value, np.uint8))}
        if kind is np.ndarray:
            return {"a": self._place_array(value)}
        return self._tell_object(value, kind)

    def _tell_object(self, value: Any, kind: type) -> Any:
        number = self._numbers.get(kind)
        if number is None:
            raise TypeError(f"no parcel holds a {kind.__name__}")
        if issubclass(kind, Enum):
            return {"e": number, "is": value.value}
        place = self._places.get(id(value))
        if place is None:
            slots = [self._tell(getattr(value, name)) for name in _slots_of(kind)]
            place = len(self._objects)
            self._objects.append([number, *slots])
            self._places[id(value)] = place
        return {"o": place}

    def _place_array(self, array: np.ndarray) -> int:
        """Where it is among the arrays; one that is there already is not written again."""
        if array.dtype.str not in DTYPES:
            raise TypeError(f"no parcel holds an array of {array.dtype}")
        known = (array.dtype.str, array.shape, array.tobytes())
        place = self._bytes.setdefault(known, len(self._arrays))
        if place == len(self._arrays):
            self._arrays.append([array.dtype.str, list(array.shape)])
        return place


class _Unpacking:
    def __init__(self, classes: Sequence[type], parcel: bytes) -> None:
        self._classes = classes
        self._parcel = parcel
        self._objects: list[Any] = []
        self._arrays: list[Bytes] = []

    def unpack(self) -> Any:
        if self._parcel[: len(MAGIC)] != MAGIC:
            raise ParcelUnreadable("not a parcel")
        end = HEAD_BYTES + int.from_bytes(self._parcel[len(MAGIC) : HEAD_BYTES], "little")
        head = json.loads(self._parcel[HEAD_BYTES:end])
        self._read_arrays(head["arrays"], end)
        for number, *slots in head["objects"]:
            self._objects.append(self._make(self._classes[number], slots))
        return self._see(head["root"])

    def _read_arrays(self, told: list[tuple[str, list[int]]], at: int) -> None:
        for dtype, shape in told:
            if dtype not in DTYPES:
                raise ParcelUnreadable(f"an array of {dtype}")
            count = math.prod(shape)
            flat = np.frombuffer(self._parcel, np.dtype(dtype), count, at)
            self._arrays.append(flat.reshape(shape))
            at += flat.nbytes
        if at != len(self._parcel):
            raise ParcelUnreadable("more or fewer bytes than it says")

    def _make(self, kind: type, told: list[Any]) -> Any:
        made = object.__new__(kind)
        for name, value in zip(_slots_of(kind), told, strict=True):
            object.__setattr__(made, name, self._see(value))
        return made

    def _see(self, told: Any) -> Any:
        if isinstance(told, list):
            return [self._see(each) for each in told]
        match told:
            case {"o": place}:
                return self._objects[place]
            case {"a": place}:
                return self._arrays[place].copy()
            case {"b": place}:
                return self._arrays[place].tobytes()
            case {"t": items}:
                return tuple(self._see(each) for each in items)
            case {"d": items}:
                return {self._see(key): self._see(value) for key, value in items}
            case {"q": items, "most": most}:
                return deque((self._see(each) for each in items), most)
            case {"e": number, "is": value}:
                return self._classes[number](value)
            case _:
                return told


def _slots_of(kind: type) -> tuple[str, ...]:
    """The names of an object's values; none for an enum."""
    return () if issubclass(kind, Enum) else tuple(vars(kind)["__slots__"])
