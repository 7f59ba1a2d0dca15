"""Serialisation: values with arrays round-trip, and malformed bytes are refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec
import numpy as np
import pytest

from service.domain.array_types import Float32Array, Int16Array, Int64Array, UInt8Array
from service.serialization import MalformedDataError, decode, encode


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class Arrays:
    traits: Float32Array
    mesh: Float32Array
    counts: Int64Array
    scene: Int16Array
    raw: UInt8Array


@dataclass(frozen=True, kw_only=True)
class Plain:
    time: float
    absent: int | None
    colours: tuple[Colour, ...]
    flags: dict[str, bool]
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Everything:
    arrays: tuple[Arrays, ...]
    plain: Plain


PLAIN = Plain(
    time=1 / 3, absent=None, colours=(Colour.RED,), flags={"array": True}, data=bytes(range(256))
)


def make_arrays() -> Arrays:
    random = np.random.default_rng(0)
    return Arrays(
        traits=np.array([[1.5, np.nan], [np.inf, -0.0]], np.float32),
        mesh=random.normal(size=(2, 468)).astype(np.float32).T,
        counts=np.array([-1, 2**40], np.int64),
        scene=np.zeros((0, 0, 3), np.int16),
        raw=np.frombuffer(b"raw", np.uint8),
    )


def test_values_and_arrays_round_trip() -> None:
    received = decode(encode(Everything(arrays=(make_arrays(),) * 2, plain=PLAIN)), Everything)
    assert received.plain == PLAIN
    assert len(received.arrays) == 2
    for arrays in received.arrays:
        for name in ("traits", "mesh", "counts", "scene", "raw"):
            array, expected = getattr(arrays, name), getattr(make_arrays(), name)
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)


def test_decoded_arrays_are_aligned_and_read_only() -> None:
    for padding in range(8):
        value = (bytes(padding), make_arrays())
        _, arrays = decode(encode(value), tuple[bytes, Arrays])
        for array in (arrays.traits, arrays.mesh, arrays.counts, arrays.scene):
            assert array.flags.aligned
            assert not array.flags.writeable


@pytest.mark.parametrize(
    "value", [lambda: None, object(), np.int64(1), np.array(["text"]), np.array([None])]
)
def test_only_data_is_encoded(value: object) -> None:
    with pytest.raises(TypeError):
        encode({"value": value})


def forge_array(element_type: str, shape: object, place: object, data: bytes) -> bytes:
    """Encode an array by hand, whatever its description."""
    plain = msgspec.msgpack.encode([element_type, shape, place])
    return msgspec.msgpack.encode([msgspec.Raw(plain), [data]])


def test_an_array_of_the_expected_type_is_decoded() -> None:
    array = decode(forge_array("float32", [2], 0, bytes(8)), np.ndarray)
    np.testing.assert_array_equal(array, np.zeros(2, np.float32))


@pytest.mark.parametrize(
    "data",
    [
        forge_array("object", [1], 0, bytes(8)),
        forge_array("float32", [1000], 0, bytes(8)),
        forge_array("float32", [1], 0, bytes(3)),
        forge_array("float32", [-1, -2], 0, bytes(8)),
        forge_array("float32", [2], 1, bytes(8)),
        forge_array("float32", [2], -1, bytes(8)),
        forge_array("float32", [1] * 100, 0, bytes(4)),
        forge_array("float32", [2.5], 0, bytes(10)),
    ],
)
def test_malformed_arrays_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedDataError):
        decode(data, np.ndarray)


def test_an_array_of_another_type_is_refused() -> None:
    fields = {"traits": np.zeros(1, np.float64)}
    with pytest.raises(MalformedDataError):
        decode(encode(fields), dict[str, Float32Array])


@pytest.mark.parametrize("data", [b"", b"\xff", bytes(50), b"\x91" * 100_000, b"\x92\xc0\x90"])
def test_malformed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedDataError):
        decode(data, Plain)


def test_bytes_after_a_value_are_refused() -> None:
    with pytest.raises(MalformedDataError):
        decode(encode(PLAIN) + b"\x00", Plain)


def test_plain_values_are_limited_and_arrays_are_not() -> None:
    large = np.zeros(100_000, np.uint8)
    assert decode(encode([large]), list[UInt8Array], max_plain_bytes=100)[0].size == large.size
    with pytest.raises(MalformedDataError):
        decode(encode([0] * 101), list[int], max_plain_bytes=100)
