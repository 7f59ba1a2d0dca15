"""Inference requests: deadline, duration metric, error translation.

A request runs to its end when its caller is cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from service.domain.array_types import Float32Array
from service.domain.estimator import EstimatorId
from service.domain.model_signatures import ModelSignature
from service.errors import InferenceFailed, InferenceUnavailable
from service.telemetry.metrics import Metrics

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
