"""Triton backend `pytorch` for the CPU: runs `model.pt` where the libtorch backend is missing.

Triton's Python backend loads this file for every model whose config has `backend: "pytorch"`, in
one process for each. These processes hold no PyTorch: the model runtime forks a model process for
each of them (`model_runtime.py`), and the arrays of requests are passed on to that.

It rejects what the libtorch backend rejects (names, types, batches), so that a repository that
works here works there. It imports NumPy and Triton's own module, and nothing of this project.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from model_channel import RUNTIME_VARIABLE, Array, ModelChannel, create_channel

if TYPE_CHECKING:
    pb_utils: Any
else:
    import triton_python_backend_utils as pb_utils  # exists only inside Triton

_WARM_UP_SECONDS = 15.0
"""Longest time from a model's initialisation to its warm-up, which follows at once."""
_USED_CAPSULE = b"used_dltensor"
_rename_capsule: Any = ctypes.pythonapi.PyCapsule_SetName
_rename_capsule.argtypes = [ctypes.py_object, ctypes.c_char_p]


class TritonPythonModel:
    """One instance of one model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Have `<model>/<version>/model.pt` loaded and checked against its config."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        file = folder / (config.get("default_model_filename") or "model.pt")
        self._channel = connect_to_runtime()
        exit_with_model_process(self._channel.presence)
        request = {"name": args["model_name"], "file": str(file), "config": config}
        loaded, _ = self._call(request)
        self._inputs: list[str] = loaded["inputs"]
        self._outputs: list[str] = loaded["outputs"]
        self._max_batch = int(config["max_batch_size"])
        self._first_call = threading.Timer(_WARM_UP_SECONDS, exit_abandoned)
        self._first_call.daemon = True
        # Triton leaves out warm-ups of no batch.
        if any(int(each.get("batch_size", 0)) for each in config.get("model_warmup", [])):
            self._first_call.start()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run the requests; those that Triton batched share one call."""
        self._first_call.cancel()
        try:
            inputs = [self._read(request) for request in requests]
            if self._max_batch:
                return list(self._execute_batch(inputs))
            _, outputs = self._call({}, [[array] for one in inputs for array in one])
            count = len(self._outputs)
            return [
                self._build_response(outputs[count * index : count * (index + 1)])
                for index in range(len(requests))
            ]
        except pb_utils.TritonModelException as error:
            triton_error = pb_utils.TritonError(str(error))
            return [pb_utils.InferenceResponse(error=triton_error) for _ in requests]

    def _execute_batch(self, inputs: list[list[Array]]) -> Iterator[Any]:
        sizes = [len(one[0]) for one in inputs]
        if sum(sizes) > self._max_batch:
            raise pb_utils.TritonModelException(
                f"batch size {sum(sizes)} exceeds max_batch_size {self._max_batch}"
            )
        _, outputs = self._call({}, list(zip(*inputs, strict=True)))
        for output in outputs:
            if len(output) != sum(sizes):
                raise pb_utils.TritonModelException(
                    f"an output has {len(output)} rows for a batch of {sum(sizes)}"
                )
        for size, end in zip(sizes, np.cumsum(sizes), strict=True):
            yield self._build_response([output[end - size : end] for output in outputs])

    def _read(self, request: Any) -> list[Array]:
        arrays: list[Array] = []
        for name in self._inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is None:
                raise pb_utils.TritonModelException(f"input {name} is missing")
            # Not as_numpy: Triton's own arrays are wrong with NumPy 2.
            arrays.append(np.from_dlpack(tensor))
        return arrays

    def _call(
        self, message: dict[str, Any], arrays: Sequence[Sequence[Array]] = ()
    ) -> tuple[dict[str, Any], list[Array]]:
        try:
            self._channel.send(message, arrays)
            answer, outputs = self._channel.receive()
        except (OSError, EOFError) as error:
            raise pb_utils.TritonModelException(f"the model process has ended: {error}") from error
        if "error" in answer:
            raise pb_utils.TritonModelException(answer["error"])
        return answer, outputs

    def _build_response(self, outputs: list[Array]) -> Any:
        tensors = list(map(build_tensor, self._outputs, outputs))
        return pb_utils.InferenceResponse(output_tensors=tensors)


def build_tensor(name: str, array: Array) -> Any:
    """Build a tensor through DLPack: those made from NumPy 2 arrays arrive empty."""
    capsule = array.__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(name, capsule)
    # Triton gives it another name than DLPack's, at which NumPy would complain.
    _rename_capsule(capsule, _USED_CAPSULE)
    return tensor


def connect_to_runtime() -> ModelChannel:
    """Create a channel and hand its other end to the model runtime."""
    descriptor = os.environ.get(RUNTIME_VARIABLE)
    if descriptor is None:
        raise pb_utils.TritonModelException(
            f"{RUNTIME_VARIABLE} is not set: start Triton by model_runtime.py"
        )
    channel, other_end = create_channel()
    try:
        with socket.socket(fileno=os.dup(int(descriptor))) as runtime:
            socket.send_fds(runtime, [b"channel"], other_end)
    except OSError as error:
        raise pb_utils.TritonModelException(f"the model runtime has ended: {error}") from error
    finally:
        for each in other_end:
            os.close(each)
    return channel


def exit_with_model_process(presence: int) -> None:
    """Have the kernel kill this process once its model process has ended.

    That ends with Triton at the latest.

    Triton's own stub checks whether the server's process id exists, which stays true for a killed
    server until it is reaped; and a stub that waits for a killed server holds the interpreter, so
    that no thread could end it.

    Args: presence: the reading end of a pipe whose writing end the model process holds.
    """
    fcntl.fcntl(presence, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(presence, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(presence, fcntl.F_SETFL, fcntl.fcntl(presence, fcntl.F_GETFL) | os.O_ASYNC)
    # It may have ended before.
    if select.select([presence], [], [], 0)[0]:
        os.kill(os.getpid(), signal.SIGKILL)


def exit_abandoned() -> None:
    """Kill this process: Triton has not warmed the model up.

    Triton gives up a process whose health thread had no processor for a second, and then waits for
    its end for ever (triton-inference-server/python_backend#408).
    """
    os.kill(os.getpid(), signal.SIGKILL)
