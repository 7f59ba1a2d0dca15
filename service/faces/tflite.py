"""Loader of the three TFLite face networks, by checksum.

Source: the files that the mediapipe 0.10.21 wheel carries (Apache-2.0).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from service.domain.array_types import Float32Array, UInt8Array
from service.errors import FaceModelsMissing

SHORT_RANGE_FILE: Final = "face_detection_short_range.tflite"
FULL_RANGE_FILE: Final = "face_detection_full_range_sparse.tflite"
MESH_FILE: Final = "face_landmark.tflite"
SHA256: Final = {
    SHORT_RANGE_FILE: "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    FULL_RANGE_FILE: "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    MESH_FILE: "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}


class _Interpreter(Protocol):
    """The untyped interpreter of TFLite, as far as it is used."""

    def allocate_tensors(self) -> None: ...
    def get_input_details(self) -> list[dict[str, Any]]: ...
    def get_output_details(self) -> list[dict[str, Any]]: ...
    def invoke(self) -> None: ...
    def tensor(self, tensor_index: int) -> Callable[[], Float32Array]: ...
    def get_tensor(self, tensor_index: int) -> Float32Array: ...


class FaceNetwork:
    """One of the networks. It runs on the calling thread, one call at a time."""

    def __init__(
        self, folder: Path, name: str, outputs: Sequence[str], *, lowest: float = 0.0
    ) -> None:
        """Load it, and run it once on zeros: processes forked later share the prepared memory.

        Args: outputs: the names of what `run` returns, in order.
        lowest: what black is to the network; white is 1.

        Raises: FaceModelsMissing: the file is absent or is not the one the service was made for.
        """
        interpreter = Interpreter(model_content=_read(folder, name), num_threads=1)
        self._interpreter = cast("_Interpreter", interpreter)
        self._interpreter.allocate_tensors()
        self._view_input = self._interpreter.tensor(
            self._interpreter.get_input_details()[0]["index"]
        )
        self._lowest, self._unit_levels = np.float32(lowest), np.float32(255 / (1 - lowest))
        places: dict[str, int] = {
            each["name"]: each["index"] for each in self._interpreter.get_output_details()
        }
        self._outputs = [places[output] for output in outputs]
        self._interpreter.invoke()

    def run(self, pixels: UInt8Array) -> list[Float32Array]:
        """Run the network on (H, W, 3) RGB."""
        self._fill_input(pixels)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(place) for place in self._outputs]

    def _fill_input(self, pixels: UInt8Array) -> None:
        """Scale pixels in the network's own memory, of which no view may outlive the call."""
        (values,) = self._view_input()
        np.divide(pixels, self._unit_levels, out=values)
        if self._lowest:
            values += self._lowest


def _read(folder: Path, name: str) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise FaceModelsMissing(f"The face model {name} cannot be read; run set-up") from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise FaceModelsMissing(f"The face model {name} is not the expected file; run set-up")
    return content
