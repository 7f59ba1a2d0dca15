"""TorchScript model on the CPU, under the rules of Triton's libtorch backend.

It rejects what that rejects (names, types, batches), and runs what it is sent over a channel.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import torch
from model_channel import MAX_MESSAGE_BYTES, Array, ModelChannel

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
_PR_SET_NAME = 15


class ServedModelError(Exception):
    """A model, its config or its inputs are wrong."""


def serve_model(channel: ModelChannel) -> None:
    """Load the model that the first message names; then run it on the arrays of the others.

    Returns when the other end of the channel is gone. Errors are answers, as they are there.
    """
    try:
        request, _ = channel.receive()
        set_process_name(request["name"])
        try:
            model = TorchModel(Path(request["file"]), request["config"])
        except Exception as error:
            send_error(channel, error)
            channel.receive()
            return
        channel.send({"inputs": model.input_names, "outputs": model.output_names})
        while True:
            _, inputs = channel.receive()
            try:
                outputs = model.run(inputs)
            except Exception as error:
                send_error(channel, error)
            else:
                channel.send({}, [[output] for output in outputs])
    except (OSError, EOFError):
        return


def send_error(channel: ModelChannel, error: Exception) -> None:
    """Send what is wrong."""
    name = "" if isinstance(error, ServedModelError) else f"{type(error).__name__}: "
    # a character takes six bytes of a packet at most
    channel.send({"error": f"{name}{error}"[: MAX_MESSAGE_BYTES // 8]})


def set_process_name(model: str) -> None:
    """Name this process after the slot of its model, for `ps` and `top`: 15 characters of it."""
    name = model.rpartition(".")[2].encode()
    ctypes.CDLL(None).prctl(_PR_SET_NAME, ctypes.c_char_p(name), 0, 0, 0)


class TorchModel:
    """Model of a file, checked against its config."""

    def __init__(self, file: Path, config: dict[str, Any]) -> None:
        """Load a file.

        Raises: ServedModelError: another hash, names or types than the config has.
        """
        self._options = BackendOptions(config.get("parameters", {}))
        self._options.apply_to_process()
        content = read_verified(file, self._options.file_sha256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._model: Any = _jit.load(io.BytesIO(content), map_location="cpu").eval()
        del content
        # The garbage of loading: what is kept for the next call is that of calls.
        ctypes.CDLL(None).malloc_trim(0)
        self._outputs = order_tensors(config["output"], "OUTPUT", [])
        self._inputs = order_tensors(config["input"], "INPUT", read_argument_names(self._model))

    @property
    def input_names(self) -> list[str]:
        """Names in the order of forward's arguments."""
        return [name for name, _ in self._inputs]

    @property
    def output_names(self) -> list[str]:
        """Names in the order of what forward returns."""
        return [name for name, _ in self._outputs]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run the inputs of one call after the other; returns the outputs in the same order.

        Raises: ServedModelError.
        """
        count = len(self._inputs)
        return [
            output.numpy()
            for start in range(0, len(inputs), count)
            for output in self._run(inputs[start : start + count])
        ]

    def _run(self, arrays: Sequence[Array]) -> list[torch.Tensor]:
        inputs = [
            check_input(array, name, data_type)
            for array, (name, data_type) in zip(arrays, self._inputs, strict=True)
        ]
        try:
            with self._options.call_context():
                result = self._model(*inputs)
        except RuntimeError as error:
            raise ServedModelError(f"PyTorch execute failure: {error}") from error
        outputs: Any = [result] if isinstance(result, torch.Tensor) else result
        if not isinstance(outputs, list | tuple) or len(cast("Any", outputs)) < len(self._outputs):
            raise ServedModelError(f"forward must return {len(self._outputs)} tensors, flat")
        return [
            check_output(outputs[index], name, data_type)
            for index, (name, data_type) in enumerate(self._outputs)
        ]


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
            give_way(int(self._values["NICE"]))

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


def give_way(nice: int) -> None:
    """Lower the priority of this process against all others of the machine.

    Kernels with autogroups share the processor among sessions first, and nice values count within
    one only: the process leaves its session, and the new one gets the nice value too.
    """
    os.nice(nice)
    with suppress(OSError):  # no such kernel, or the session is this process's own already
        os.setsid()
        Path("/proc/self/autogroup").write_text(str(nice), encoding="ascii")


def read_verified(file: Path, sha256: str | None) -> bytes:
    """Return a file's content, which is what is then loaded; another hash is refused."""
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise ServedModelError(
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
            raise ServedModelError(f"{name}: {data_type} is not supported")
    if arguments and set(types) == set(arguments):
        return [(name, types[name]) for name in arguments]
    expected = [f"{prefix}__{index}" for index in range(len(types))]
    if set(types) != set(expected) or (arguments and len(types) != len(arguments)):
        raise ServedModelError(
            f"tensors must be named {expected or prefix} from 0 without a gap"
            + (f", or after forward's arguments {arguments}" if arguments else "")
            + f"; the config has {sorted(types)}"
        )
    return [(name, types[name]) for name in expected]


def check_input(array: Array, name: str, data_type: str) -> torch.Tensor:
    """Tensor of an array's memory, which is this process's own, if its type is the config's."""
    tensor = torch.from_numpy(array)
    if tensor.dtype != _TYPES[data_type]:
        raise ServedModelError(f"input {name} is {tensor.dtype}, the config says {data_type}")
    return tensor


def check_output(value: Any, name: str, data_type: str) -> torch.Tensor:
    """Check an output against the config; returns it contiguous."""
    if not isinstance(value, torch.Tensor):
        raise ServedModelError(f"output {name} is no tensor")
    if value.dim() == 0:
        raise ServedModelError(f"output {name} has no dimension")
    if value.dtype != _TYPES[data_type]:
        raise ServedModelError(f"output {name} is {value.dtype}, the config says {data_type}")
    return value.contiguous()
