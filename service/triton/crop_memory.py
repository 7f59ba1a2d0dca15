"""Shared memory of crops and log-mel patches, for a Triton on the same host."""

from __future__ import annotations

import asyncio
import logging
import math
import mmap
import os
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient

from service.domain.array_types import UInt8Array
from service.domain.model_signatures import Tensor
from service.errors import InferenceFailed, InferenceUnavailable
from service.triton.requests import triton_errors_translated
from service.triton.shared_region import SHARED_MEMORY_FOLDER, SharedRegion, allocate_region

_log = logging.getLogger(__name__)

_UNREGISTER_SECONDS: Final = 2.0
"""Timeout for unregistering a region; the next worker unregisters one that is left."""
_IN_USE_MESSAGE: Final = "currently in use"
_RETRY_SECONDS: Final = 0.05
_PREFIX: Final = "circumplex"
ELEMENT_BYTES: Final = {"UINT8": 1, "BOOL": 1, "FP32": 4, "INT64": 8}
"""Size of an element of each data type."""


class SharedMemoryUnavailable(Exception):
    """Triton cannot open this process's shared memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Part of a region that is registered with Triton. buffer: the whole region, mapped."""

    number: int
    region: str
    offset_bytes: int
    buffer: mmap.mmap

    def write(self, array: UInt8Array) -> None:
        """Copy an array to the start of the slot."""
        place = np.ndarray(array.shape, np.uint8, buffer=self.buffer, offset=self.offset_bytes)
        np.copyto(place, array)

    def as_input(self, tensor: Tensor, shape: Sequence[int]) -> InferInput:
        """Return a model's input that lies at the start of the slot."""
        model_input = InferInput(tensor.name, shape, tensor.data_type)
        model_input.set_shared_memory(self.region, _count_bytes(tensor, shape), self.offset_bytes)
        return model_input

    def as_output(self, tensor: Tensor, shape: Sequence[int]) -> InferRequestedOutput:
        """Return a model's output of this shape that is written to the start of the slot."""
        output = InferRequestedOutput(tensor.name)
        output.set_shared_memory(self.region, _count_bytes(tensor, shape), self.offset_bytes)
        return output


def _count_bytes(tensor: Tensor, shape: Sequence[int]) -> int:
    return math.prod(shape) * ELEMENT_BYTES[tensor.data_type]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    """Shared memory that is registered with Triton under a name."""

    name: str
    memory: SharedRegion


class SharedCropMemory:
    """Slots of equal size in one region, each holding the crops, or patches, of one request.

    The region's file is unlinked as soon as Triton has mapped it, so a killed worker leaves no
    file; the mapping in Triton is unregistered by the next worker.
    """

    def __init__(
        self,
        client: InferenceServerClient,
        *,
        slot_bytes: int,
        slots: int,
        timeout_seconds: float,
        folder: Path = SHARED_MEMORY_FOLDER,
    ) -> None:
        self._client = client
        self._slot_bytes = slot_bytes
        self._slots = slots
        self._timeout_seconds = timeout_seconds
        self._folder = folder
        self._free = list(range(slots))
        self._region: _Region | None = None
        self._register_lock = asyncio.Lock()

    def claim(self, size_bytes: int) -> int | None:
        """Reserve a slot and return its number; None: all are in use, or too small."""
        return self._free.pop() if self._free and size_bytes <= self._slot_bytes else None

    @asynccontextmanager
    async def claimed_slot(self, number: int) -> AsyncGenerator[Slot]:
        """Yield a claimed slot in a region that Triton knows; it is released on exit.

        Raises: SharedMemoryUnavailable, SharedMemoryFull.
        """
        try:
            yield await self._find_slot(number, lost_region=None)
        finally:
            self._free.append(number)

    async def move_to_new_region(self, slot: Slot) -> Slot:
        """Return the slot in a new region, after Triton has lost the slot's region."""
        return await self._find_slot(slot.number, lost_region=slot.region)

    async def _find_slot(self, number: int, *, lost_region: str | None) -> Slot:
        region = await self._ensure_region(lost_region)
        return Slot(
            number=number,
            region=region.name,
            offset_bytes=number * self._slot_bytes,
            buffer=region.memory.buffer,
        )

    async def _ensure_region(self, lost_region: str | None) -> _Region:
        async with self._register_lock:
            if self._region is None or self._region.name == lost_region:
                with triton_errors_translated():
                    await self._unregister_dead_workers()
                self._close_region()
                self._region = await self._register()
            return self._region

    async def close(self) -> None:
        """Unregister the region, if Triton is reachable, and close it."""
        if self._region is None:
            return
        try:
            await self._unregister(self._region.name, wait_seconds=_UNREGISTER_SECONDS)
        except InferenceUnavailable as error:
            _log.info("Triton is unreachable, the region needs no unregistering: %s", error.detail)
        self._close_region()

    async def _register(self) -> _Region:
        memory = allocate_region(self._slot_bytes * self._slots, self._folder)
        name = f"{_PREFIX}-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            with triton_errors_translated():
                await self._client.register_system_shared_memory(
                    name, memory.key, memory.size_bytes, client_timeout=self._timeout_seconds
                )
        except BaseException as error:
            memory.close()
            if isinstance(error, InferenceFailed):
                raise SharedMemoryUnavailable(error.detail) from error
            raise
        finally:
            memory.unlink()
        return _Region(name=name, memory=memory)

    async def _unregister_dead_workers(self) -> None:
        status = await self._client.get_system_shared_memory_status(
            client_timeout=self._timeout_seconds
        )
        for name in status.regions if status else ():
            prefix, _, rest = name.partition("-")
            if prefix == _PREFIX and not _is_alive(rest.partition("-")[0]):
                await self._unregister(name, wait_seconds=0.0)

    async def _unregister(self, name: str, *, wait_seconds: float) -> None:
        """Unregister a region; Triton uses it until shortly after a request's response."""
        end = time.monotonic() + wait_seconds
        while True:
            try:
                with triton_errors_translated():
                    await self._client.unregister_system_shared_memory(
                        name, client_timeout=min(self._timeout_seconds, _UNREGISTER_SECONDS)
                    )
                return
            except InferenceFailed as error:
                if _IN_USE_MESSAGE not in error.detail:
                    raise
                if time.monotonic() >= end:
                    _log.warning(
                        "region is left for the next worker to unregister: %s", error.detail
                    )
                    return
            await asyncio.sleep(_RETRY_SECONDS)

    def _close_region(self) -> None:
        if self._region is not None:
            self._region.memory.close()
        self._region = None


def _is_alive(pid: str) -> bool:
    return Path("/proc", pid).exists()
