"""Channel between a process of Triton and the model process that computes for it.

A message is one packet of a local socket, in JSON. Arrays are not in it: they lie in memory that
both processes map, one area for each direction. The next message overwrites them.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

RUNTIME_VARIABLE = "TRITON_MODEL_RUNTIME"
"""Environment variable: the inherited socket at which the model runtime takes channels."""
MAX_MESSAGE_BYTES = 65_536
_ALIGNMENT_BYTES = 64
"""Alignment of arrays, that of PyTorch's own tensors: sums may depend on it in the last bit."""
_AREA_STEP_BYTES = 1 << 20


class ModelChannel:
    """One end of a channel."""

    def __init__(
        self, connection: socket.socket, outgoing: int, incoming: int, presence: int
    ) -> None:
        """Take over a connected socket and the file descriptors of both areas and of a pipe.

        presence: an end of a pipe that closes with this process.
        """
        self._connection = connection
        self.presence = presence
        self._outgoing = _MemoryArea(outgoing)
        self._incoming = _MemoryArea(incoming)

    def send(self, message: dict[str, Any], arrays: Sequence[Sequence[Array]] = ()) -> None:
        """Send a message with arrays, each given in parts that are joined along the first axis.

        Raises: OSError: the other end is gone; ValueError: parts that do not fit together.
        """
        size, headers = 0, list[tuple[str, tuple[int, ...], int]]()
        for parts in arrays:
            shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
            headers.append((parts[0].dtype.str, shape, size))
            size += -(-sum(part.nbytes for part in parts) // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        self._outgoing.reserve(size)
        for parts, header in zip(arrays, headers, strict=True):
            np.concatenate(parts, out=self._outgoing.view(*header), casting="no")
        packet = json.dumps({"message": message, "arrays": headers, "size": size}).encode()
        if len(packet) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {len(packet)} bytes is too long")
        self._connection.sendall(packet)

    def receive(self) -> tuple[dict[str, Any], list[Array]]:
        """Receive a message with its arrays, which are valid until the next one.

        Raises: EOFError: the other end is gone.
        """
        packet = self._connection.recv(MAX_MESSAGE_BYTES)
        if not packet:
            raise EOFError("the other end of the channel is gone")
        content = json.loads(packet)
        self._incoming.follow(content["size"])
        return content["message"], [self._incoming.view(*each) for each in content["arrays"]]


class _MemoryArea:
    """Anonymous shared memory, which only grows; one process writes it and another reads it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map: mmap.mmap | None = None

    def reserve(self, size: int) -> None:
        """Make room for so many bytes, as the one that writes."""
        if os.fstat(self._descriptor).st_size < size:
            os.ftruncate(self._descriptor, (size // _AREA_STEP_BYTES + 1) * _AREA_STEP_BYTES)
        self.follow(size)

    def follow(self, size: int) -> None:
        """Map so many bytes; arrays in the earlier mapping stay valid."""
        if size > (0 if self._map is None else len(self._map)):
            self._map = mmap.mmap(self._descriptor, 0)

    def view(self, dtype: str, shape: Sequence[int], offset: int) -> Array:
        """Array at an offset, bytes; an empty one is not in the area."""
        if self._map is None or 0 in shape:
            return np.empty(shape, dtype)
        return np.ndarray(shape, dtype, self._map, offset)


def create_channel() -> tuple[ModelChannel, list[int]]:
    """Create a channel. Returns: one end, and the file descriptors from which to make the other."""
    mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    requests, responses = (os.memfd_create("circumplex-arrays") for _ in range(2))
    reading, writing = os.pipe()
    channel = ModelChannel(mine, requests, responses, reading)
    return channel, [other.detach(), os.dup(responses), os.dup(requests), writing]


def open_channel(descriptors: Sequence[int]) -> ModelChannel:
    """Open the other end from the file descriptors of `create_channel`."""
    connection, outgoing, incoming, presence = descriptors
    return ModelChannel(socket.socket(fileno=connection), outgoing, incoming, presence)
