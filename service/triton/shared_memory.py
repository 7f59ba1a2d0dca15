"""Crops reach a Triton on the same host through system shared memory, not through gRPC."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Final

import numpy as np
from tritonclient.grpc.aio import InferenceServerClient

from service.domain.array_types import UInt8Array
from service.errors import InferenceFailed, InferenceUnavailable
from service.triton.requests import triton_errors_translated

_log = logging.getLogger(__name__)

_PREFIX: Final = "circumplex"
_UNREGISTER_SECONDS: Final = 2.0
"""What Triton gets to let go of a region; the next worker sees to one it kept."""


_IN_USE_MESSAGE: Final = "currently in use"
_RETRY_SECONDS: Final = 0.05


class SharedMemoryUnavailable(Exception):
    """Triton cannot open what this process puts into shared memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A part of a region that Triton knows by name."""

    number: int
    region: str
    offset_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    name: str
    memory: SharedMemory


class SharedCropMemory:
    """Equal slots of one region, each holding the crops of one request.

    The region's file is unlinked as soon as Triton has mapped it, so a worker that
    is killed leaves none behind; what Triton still maps of it, the next worker lets go.
    """

    def __init__(
        self, client: InferenceServerClient, *, slot_bytes: int, slots: int, timeout_seconds: float
    ) -> None:
        self._client = client
        self._slot_bytes = slot_bytes
        self._slots = slots
        self._timeout_seconds = timeout_seconds
        self._free = list(range(slots))
        self._region: _Region | None = None
        self._register_lock = asyncio.Lock()

    def claim(self, crops: UInt8Array) -> int | None:
        """A slot's number for whoever then holds it; None where all are taken or too small."""
        return self._free.pop() if self._free and crops.nbytes <= self._slot_bytes else None

    @asynccontextmanager
    async def filled_slot(self, number: int, crops: UInt8Array) -> AsyncGenerator[Slot]:
        """The crops in the slot that was claimed, which is free again afterwards.

        Raises: MemoryNotShared.
        """
        try:
            yield await self._write_crops(number, crops, lost_region=None)
        finally:
            self._free.append(number)

    async def move_to_new_region(self, slot: Slot, crops: UInt8Array) -> Slot:
        """The crops in a new region, where Triton does not know the slot's region any more."""
        return await self._write_crops(slot.number, crops, lost_region=slot.region)

    async def _write_crops(
        self, number: int, crops: UInt8Array, *, lost_region: str | None
    ) -> Slot:
        region = await self._ensure_region(lost_region)
        offset_bytes = number * self._slot_bytes
        place = np.ndarray(crops.shape, np.uint8, buffer=region.memory.buf, offset=offset_bytes)
        np.copyto(place, crops)
        return Slot(number=number, region=region.name, offset_bytes=offset_bytes)

    async def _ensure_region(self, lost_region: str | None) -> _Region:
        async with self._register_lock:
            if self._region is None or self._region.name == lost_region:
                with triton_errors_translated():
                    await self._unregister_dead_workers()
                self._close_region()
                self._region = await self._register()
            return self._region

    async def close(self) -> None:
        """Have Triton let go of the region, if it still answers, and let go of it here."""
        if self._region is None:
            return
        try:
            await self._unregister(self._region.name, wait_seconds=_UNREGISTER_SECONDS)
        except InferenceUnavailable as error:
            _log.info("Triton is away and needs no unregistering: %s", error.detail)
        self._close_region()

    async def _register(self) -> _Region:
        memory = SharedMemory(create=True, size=self._slot_bytes * self._slots)
        name = f"{_PREFIX}-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            with triton_errors_translated():
                await self._client.register_system_shared_memory(
                    name, f"/{memory.name}", memory.size, client_timeout=self._timeout_seconds
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
        """Triton holds a region while a request reads it, and for a moment after its answer."""
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
                    _log.warning("left for another worker to let go: %s", error.detail)
                    return
            await asyncio.sleep(_RETRY_SECONDS)

    def _close_region(self) -> None:
        if self._region is not None:
            self._region.memory.close()
        self._region = None


def _is_alive(pid: str) -> bool:
    return Path("/proc", pid).exists()
