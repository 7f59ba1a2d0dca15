"""Inference requests (deadline, duration metric, error translation), and shared memory for crops.

A request runs to its end when its caller is cancelled. Crops reach a Triton on the same host
through shared memory, without gRPC.
"""

from __future__ import annotations

import asyncio
import logging
import math
import mmap
import os
import secrets
import time
from collections.abc import AsyncGenerator, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.estimator import EstimatorId
from service.domain.model_signatures import ModelSignature, Tensor
from service.errors import InferenceFailed, InferenceUnavailable
from service.telemetry.metrics import Metrics
from service.triton.shared_region import SHARED_MEMORY_FOLDER, SharedRegion, allocate_region

T = TypeVar("T")

_UNAVAILABLE_STATUSES: Final = (
    "StatusCode.UNAVAILABLE",
    "StatusCode.DEADLINE_EXCEEDED",
    "StatusCode.CANCELLED",
)

MODEL_VERSION: Final = "1"
"""Folder of every exported file; a further one that somebody adds is not used."""
_DRAIN_SECONDS: Final = 5.0
_UNAVAILABLE_MESSAGES: Final = (
    *("is not healthy", "has no available versions"),
    *("Failed to increase the shared memory pool size", "No space left on device"),
)
"""Triton's errors for a Python model whose process has died (until Triton is restarted), for every
model while Triton shuts down, and for a full /dev/shm."""
_log = logging.getLogger(__name__)
_PREFIX: Final = "circumplex"
_UNREGISTER_SECONDS: Final = 2.0
"""Timeout for unregistering a region; the next worker unregisters one that is left."""
_IN_USE_MESSAGE: Final = "currently in use"
_RETRY_SECONDS: Final = 0.05
ELEMENT_BYTES: Final = {"UINT8": 1, "BOOL": 1, "FP32": 4, "INT64": 8}
"""Size of an element of each data type."""


class ModelClient:
    """Calls models by their signatures through one client."""

    def __init__(
        self, client: InferenceServerClient, *, timeout_seconds: float, metrics: Metrics
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self.metrics = metrics
        self._running: set[asyncio.Task[Any]] = set()

    async def infer(
        self,
        estimator: EstimatorId,
        slot: ModelSignature,
        inputs: list[InferInput],
        outputs: Sequence[InferRequestedOutput] | None = None,
    ) -> list[Float32Array]:
        """Run an estimator's model; returns its outputs in the signature's order.

        Args: outputs: those that are written to shared memory, and not returned; None: all are
            returned.
        """
        started = time.perf_counter()
        found = await self._run(estimator, slot, inputs, outputs)
        seconds = time.perf_counter() - started
        labels = {"model": str(estimator), "slot": slot.name}
        self.metrics.triton_request_duration_seconds.labels(**labels).observe(seconds)
        return found

    async def run_probe(
        self, estimator: EstimatorId, slot: ModelSignature, inputs: list[InferInput]
    ) -> list[Float32Array]:
        """Run an estimator's model as `infer` does, and leave it out of the metrics."""
        return await self._run(estimator, slot, inputs, None)

    async def _run(
        self,
        estimator: EstimatorId,
        slot: ModelSignature,
        inputs: list[InferInput],
        outputs: Sequence[InferRequestedOutput] | None,
    ) -> list[Float32Array]:
        returned = slot.outputs if outputs is None else ()
        with triton_errors_translated():
            result = await self._client.infer(
                estimator.part_name(slot.name),
                inputs,
                model_version=MODEL_VERSION,
                outputs=outputs or [InferRequestedOutput(output.name) for output in returned],
                client_timeout=self._timeout_seconds,
            )
        return [_output_array(result, output.name) for output in returned]

    async def run_uncancelled(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`; when the caller is cancelled, the work still runs to its end.

        Cancelling many requests at once has crashed Triton (triton-inference-server#7368).
        """
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._on_done)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait up to 5 s for running requests, the results of which are dropped."""
        if self._running:
            await asyncio.wait(self._running, timeout=_DRAIN_SECONDS)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, also where its caller was cancelled


def build_inputs(model: ModelSignature, arrays: Sequence[npt.NDArray[Any]]) -> list[InferInput]:
    """Pack arrays as a model's inputs, in the signature's order."""
    inputs: list[InferInput] = []
    for tensor, array in zip(model.inputs, arrays, strict=True):
        model_input = InferInput(tensor.name, array.shape, tensor.data_type)
        model_input.set_data_from_numpy(np.ascontiguousarray(array))
        inputs.append(model_input)
    return inputs


@contextmanager
def triton_errors_translated() -> Generator[None]:
    """Translate errors of Triton. Raises: InferenceUnavailable: retryable; InferenceFailed."""
    try:
        yield
    except InferenceServerException as error:
        message = str(error.message())
        if str(error.status()) in _UNAVAILABLE_STATUSES or any(
            sign in message for sign in _UNAVAILABLE_MESSAGES
        ):
            raise InferenceUnavailable(f"Triton: {error.message()}") from error
        raise InferenceFailed(f"Triton: {error.message()}") from error
    except grpc.RpcError as error:
        raise InferenceUnavailable(f"Triton: {error}") from error


def _output_array(result: InferResult | None, name: str) -> Float32Array:
    output = None if result is None else result.as_numpy(name)
    if output is None:
        raise InferenceFailed(f"Triton's response has no output {name}.")
    return np.asarray(output, np.float32)


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
