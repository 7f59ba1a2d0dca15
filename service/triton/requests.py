"""One inference request: its deadline, its time, its errors, and that it is never cancelled."""

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
from service.domain.model_signatures import ModelSignature
from service.errors import InferenceFailed, InferenceUnavailable
from service.telemetry.metrics import Metrics

T = TypeVar("T")

_UNAVAILABLE_STATUSES: Final = (
    "StatusCode.UNAVAILABLE",
    "StatusCode.DEADLINE_EXCEEDED",
    "StatusCode.CANCELLED",
)

_DRAIN_SECONDS: Final = 5.0
_UNAVAILABLE_MESSAGES: Final = ("is not healthy", "has no available versions")
"""What Triton says of a Python model whose process is gone, true until Triton is restarted, and
of any model once it was told to stop."""


class ModelClient:
    """Calls models by their signatures through one client."""

    def __init__(
        self, client: InferenceServerClient, *, timeout_seconds: float, metrics: Metrics
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._metrics = metrics
        self._running: set[asyncio.Task[Any]] = set()

    async def infer(self, model: ModelSignature, inputs: list[InferInput]) -> list[Float32Array]:
        """The model's outputs, in the signature's order."""
        started = time.perf_counter()
        with triton_errors_translated():
            result = await self._client.infer(
                model.name,
                inputs,
                outputs=[InferRequestedOutput(output.name) for output in model.outputs],
                client_timeout=self._timeout_seconds,
            )
        seconds = time.perf_counter() - started
        self._metrics.triton_request_duration_seconds.labels(model=model.name).observe(seconds)
        return [_output_array(result, output.name) for output in model.outputs]

    async def run_uncancelled(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`; a caller that is cancelled leaves, and the work runs to its end.

        Cancelling many requests at once has crashed Triton (triton-inference-server#7368).
        """
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._on_done)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait a little for the requests that still run; nobody waits for their answers."""
        if self._running:
            await asyncio.wait(self._running, timeout=_DRAIN_SECONDS)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also where its caller has left


def build_inputs(model: ModelSignature, arrays: Sequence[npt.NDArray[Any]]) -> list[InferInput]:
    """The arrays as the model's inputs, by their order; their bytes go through gRPC."""
    inputs: list[InferInput] = []
    for tensor, array in zip(model.inputs, arrays, strict=True):
        given = InferInput(tensor.name, array.shape, tensor.data_type)
        given.set_data_from_numpy(np.ascontiguousarray(array))
        inputs.append(given)
    return inputs


@contextmanager
def triton_errors_translated() -> Generator[None]:
    """Translate the client's errors: away and worth another try, or failed."""
    try:
        yield
    except InferenceServerException as error:
        said = str(error.message())
        if str(error.status()) in _UNAVAILABLE_STATUSES or any(
            sign in said for sign in _UNAVAILABLE_MESSAGES
        ):
            raise InferenceUnavailable(f"Triton: {error.message()}") from error
        raise InferenceFailed(f"Triton: {error.message()}") from error
    except grpc.RpcError as error:
        raise InferenceUnavailable(f"Triton: {error}") from error


def _output_array(result: InferResult | None, name: str) -> Float32Array:
    answer = None if result is None else result.as_numpy(name)
    if answer is None:
        raise InferenceFailed(f"Triton left {name} out of its answer.")
    return np.asarray(answer, np.float32)
