"""States as bytes: they come back as they were, and nothing but data comes back."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from service.domain.snapshot_codec import pack, unpack


def test_snapshot_round_trips() -> None:
    random = np.random.default_rng(0)
    arrays = {
        "traits": np.array([[1.5, np.nan], [np.inf, -0.0]], np.float32),
        "mesh": random.normal(size=(468, 2)).astype(np.float32),
        "counts": np.array([-1, 2**40], np.int64),
        "scene": np.zeros((0, 0, 3), np.int16),
        "sound": np.frombuffer(b"raw", np.uint8),
    }
    plain = {"time": 1 / 3, "none": None, "text": "array", "list": [1, True, {"deep": []}]}
    received = unpack(pack({"arrays": arrays, "all": [arrays["counts"], plain]}))
    for name, array in arrays.items():
        assert received["arrays"][name].dtype == array.dtype
        np.testing.assert_array_equal(received["arrays"][name], array)
        assert received["arrays"][name].flags.writeable
    np.testing.assert_array_equal(received["all"][0], arrays["counts"])
    assert received["all"][1] == plain


def test_only_plain_data_is_packed_and_unpacked() -> None:
    with pytest.raises(TypeError, match="function"):
        pack({"call": lambda: None})
    with pytest.raises(TypeError, match="int64"):
        pack({"scalar": np.int64(1)})
    for told in ({"array": ["object", [1]]}, {"array": ["float32", [1000]]}):
        text = json.dumps(told).encode()
        with pytest.raises(ValueError, match=r"array|buffer"):
            unpack(struct.pack("<I", len(text)) + text + bytes(8))
