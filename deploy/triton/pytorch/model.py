"""Triton backend `pytorch` for the CPU: runs `model.pt` where the libtorch backend is missing.

Triton's Python backend loads this file for every model whose config has `backend: "pytorch"`.
It rejects what the libtorch backend rejects (names, types, batches), so that a repository that
works here works there. It imports torch and Triton's own module, and nothing of this project.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import threading
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils.dlpack import from_dlpack

if TYPE_CHECKING:
    pb_utils: Any
else:
    import triton_python_backend_utils as pb_utils  # exists only inside Triton

_jit = cast("Any", torch.jit)
_TYPES = {
    "TYPE_BOOL": torch.bool,
    "TYPE_UINT8": torch.uint8,
    "TYPE_INT8": torch.int8,
    "TYPE_INT16": torch.int16,
    "TYPE_INT32": torch.int32,
    "TYPE_INT64": torch.int64,
    "TYPE_FP16": torch.float16,
    "TYPE_FP32": torch.float32,
    "TYPE_FP64": torch.float64,
}
SERVER_PID_ARGUMENT = 5
"""Index in the stub's command line: program, model, shared memory, its size, its growth, pid."""


class TritonPythonModel:
    """One instance of one model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load `<model>/<version>/model.pt` and check it against its config."""
        threading.Thread(target=exit_with_server, args=(read_server_pid(),), daemon=True).start()
        config = json.loads(args["model_config"])
        self._options = BackendOptions(config.get("parameters", {}))
        self._options.apply_to_process()
        folder = Path(args["model_repository"]) / args["model_version"]
        content = read_verified(
            folder / (config.get("default_model_filename") or "model.pt"),
            self._options.file_sha256,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._model: Any = _jit.load(io.BytesIO(content), map_location="cpu").eval()
        self._max_batch = int(config["max_batch_size"])
        self._outputs = order_tensors(config["output"], "OUTPUT", [])
        self._inputs = order_tensors(config["input"], "INPUT", read_argument_names(self._model))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run the requests; those that Triton batched share one call."""
        try:
            inputs = [self._read(request) for request in requests]
            if self._max_batch == 0:
                return [build_response(self._outputs, self._run(one)) for one in inputs]
            return self._execute_batch(inputs)
        except pb_utils.TritonModelException as error:
            triton_error = pb_utils.TritonError(str(error))
            return [pb_utils.InferenceResponse(error=triton_error) for _ in requests]

    def _execute_batch(self, inputs: list[list[torch.Tensor]]) -> list[Any]:
        sizes = [one[0].shape[0] for one in inputs]
        if sum(sizes) > self._max_batch:
            raise pb_utils.TritonModelException(
                f"batch size {sum(sizes)} exceeds max_batch_size {self._max_batch}"
            )
        outputs = self._run([torch.cat(parts) for parts in zip(*inputs, strict=True)])
        for output in outputs:
            if output.shape[0] != sum(sizes):
                raise pb_utils.TritonModelException(
                    f"an output has {output.shape[0]} rows for a batch of {sum(sizes)}"
                )
        parts = zip(*(torch.split(output, sizes) for output in outputs), strict=True)
        return [build_response(self._outputs, list(part)) for part in parts]

    def _read(self, request: Any) -> list[torch.Tensor]:
        tensors: list[torch.Tensor] = []
        for name, data_type in self._inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is None:
                raise pb_utils.TritonModelException(f"input {name} is missing")
            # A clone: the memory belongs to the server.
            value = from_dlpack(tensor.to_dlpack()).clone()
            tensors.append(value.to(torch.bool) if data_type == "TYPE_BOOL" else value)
            if tensors[-1].dtype != _TYPES[data_type]:
                raise pb_utils.TritonModelException(
                    f"input {name} is {tensors[-1].dtype}, the config says {data_type}"
                )
        return tensors

    def _run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        try:
            with self._options.call_context():
                result = self._model(*inputs)
        except RuntimeError as error:
            raise pb_utils.TritonModelException(f"PyTorch execute failure: {error}") from error
        outputs: Any = [result] if isinstance(result, torch.Tensor) else result
        if not isinstance(outputs, list | tuple) or len(cast("Any", outputs)) < len(self._outputs):
            raise pb_utils.TritonModelException(
                f"forward must return {len(self._outputs)} tensors, flat"
            )
        return [
            check_output(outputs[index], name, data_type)
            for index, (name, data_type) in enumerate(self._outputs)
        ]


def read_server_pid() -> int:
    """Read the server's process id from the stub's command line.

    The parent's id is not reliable: if the server ends while this process starts, the parent is
    already another process.
    """
    arguments = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    return int(arguments[SERVER_PID_ARGUMENT])


def exit_with_server(server_pid: int) -> None:
    """Kill this process once its server has ended.

    Triton's own stub checks whether the server's process id exists, which stays true for a killed
    server until it is reaped; the stub would stay alive.
    """
    while os.getppid() == server_pid:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


class BackendOptions:
    """Config parameters of the libtorch backend; unknown ones are ignored, as there.

    In addition, which libtorch ignores: NICE, the nice value of this process, and FILE_SHA256.
    """

    def __init__(self, parameters: dict[str, dict[str, str]]) -> None:
        self._values = {key: value["string_value"] for key, value in parameters.items()}

    @property
    def file_sha256(self) -> str | None:
        """SHA-256 of the only file that may be loaded; None: any file."""
        return self._values.get("FILE_SHA256")

    def apply_to_process(self) -> None:
        """Apply thread counts and the nice value."""
        if "INTRA_OP_THREAD_COUNT" in self._values:
            torch.set_num_threads(int(self._values["INTRA_OP_THREAD_COUNT"]))
        if "INTER_OP_THREAD_COUNT" in self._values:
            torch.set_num_interop_threads(int(self._values["INTER_OP_THREAD_COUNT"]))
        if "NICE" in self._values:
            os.nice(int(self._values["NICE"]))

    @contextmanager
    def call_context(self) -> Generator[None]:
        """Apply the inference mode and optimisation for one call."""
        inference = self._read_flag("INFERENCE_MODE", default=True)
        optimised = not self._read_flag("DISABLE_OPTIMIZED_EXECUTION", default=False)
        with (
            torch.inference_mode(inference),
            torch.no_grad(),
            _jit.optimized_execution(optimised),
        ):
            yield

    def _read_flag(self, key: str, *, default: bool) -> bool:
        return {"true": True, "false": False}[self._values.get(key, str(default)).lower()]


def read_verified(file: Path, sha256: str | None) -> bytes:
    """Return a file's content, which is what is then loaded; another hash is refused."""
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise pb_utils.TritonModelException(
            f"{file} has the SHA-256 {found}, and the config names {sha256}: it is not the file "
            "that was exported"
        )
    return content


def read_argument_names(model: torch.jit.ScriptModule) -> list[str]:
    """Return the names of forward's arguments, without self."""
    forward: Any = model.forward
    return [argument.name for argument in forward.schema.arguments][1:]


def order_tensors(
    tensors: list[dict[str, Any]], prefix: str, arguments: list[str]
) -> list[tuple[str, str]]:
    """Return names and types in the order of forward, by the libtorch backend's name rules."""
    types = {tensor["name"]: tensor["data_type"] for tensor in tensors}
    for name, data_type in types.items():
        if data_type not in _TYPES:
            raise pb_utils.TritonModelException(f"{name}: {data_type} is not supported")
    if arguments and set(types) == set(arguments):
        return [(name, types[name]) for name in arguments]
    expected = [f"{prefix}__{index}" for index in range(len(types))]
    if set(types) != set(expected) or (arguments and len(types) != len(arguments)):
        raise pb_utils.TritonModelException(
            f"tensors must be named {expected or prefix} from 0 without a gap"
            + (f", or after forward's arguments {arguments}" if arguments else "")
            + f"; the config has {sorted(types)}"
        )
    return [(name, types[name]) for name in expected]


def check_output(value: Any, name: str, data_type: str) -> torch.Tensor:
    """Check an output against the config; returns it contiguous."""
    if not isinstance(value, torch.Tensor):
        raise pb_utils.TritonModelException(f"output {name} is no tensor")
    if value.dim() == 0:
        raise pb_utils.TritonModelException(f"output {name} has no dimension")
    if value.dtype != _TYPES[data_type]:
        raise pb_utils.TritonModelException(
            f"output {name} is {value.dtype}, the config says {data_type}"
        )
    return value.contiguous()


def build_response(names: list[tuple[str, str]], outputs: list[torch.Tensor]) -> Any:
    """Build a response through DLPack: tensors made from NumPy 2 arrays arrive empty."""
    tensors = [
        pb_utils.Tensor.from_dlpack(name, output.contiguous())
        for (name, _), output in zip(names, outputs, strict=True)
    ]
    return pb_utils.InferenceResponse(output_tensors=tensors)
