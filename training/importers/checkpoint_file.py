"""Reading of checkpoint files as named tensors, without executing code in them."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from torch import Tensor

from training.data.files import load_tensors
from training.importers.errors import (
    CheckpointDamaged,
    CheckpointHoldsCode,
    CheckpointUnreadable,
    CheckpointWithoutTensors,
)

_MAX_DEPTH: Final = 5
"""Mappings within each other in which a state dict is searched."""
_WRAPPER_MODULES: Final = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Parts of keys by which torch.compile, FSDP and activation checkpoints wrap a module."""
_READ_ERRORS: Final = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    safetensors.SafetensorError,
    struct.error,
    zipfile.BadZipFile,
)
"""Errors that the readers raise when bytes are missing or changed."""
_ZIP_MAGIC: Final = b"PK\x03\x04"
_PICKLE_MAGIC: Final = b"\x80"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDict:
    """Tensors by name; `path` are the keys of the mappings that they lie in.

    removed: parts of names that were removed, since they are only wrappers of modules.
    """

    path: tuple[str, ...]
    tensors: dict[str, Tensor]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointContents:
    """Every state dict of a file, at least one."""

    state_dicts: tuple[StateDict, ...]
    sha256: str
    file_bytes: int


def read_checkpoint(file: Path) -> CheckpointContents:
    """Read safetensors, a PyTorch checkpoint (zip or older), or numpy's .npz.

    Raises: CheckpointUnreadable, CheckpointDamaged, CheckpointHoldsCode,
        CheckpointWithoutTensors.
    """
    try:
        content = _load(file)
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointUnreadable(f"{file} cannot be read: {error.strerror}.") from error
    state_dicts = tuple(_iter_state_dicts(content, ()))
    if not state_dicts:
        raise CheckpointWithoutTensors(f"{file.name} holds no state dict: tensors with names.")
    return CheckpointContents(
        state_dicts=state_dicts, sha256=sha256, file_bytes=file.stat().st_size
    )


def _load(file: Path) -> object:
    with file.open("rb") as stream:
        head = stream.read(9)
    try:
        if head.startswith(_ZIP_MAGIC):
            if not zipfile.is_zipfile(file):
                raise CheckpointDamaged(f"{file.name} ends early: its zip directory is missing.")
            return _load_npz(file) if _is_npz(file) else _load_pickle(file)
        if head[8:9] == b"{":
            return load_tensors(file)
        if head.startswith(_PICKLE_MAGIC):
            return _load_pickle(file)
    except _READ_ERRORS as error:
        raise CheckpointDamaged(f"{file.name} is damaged or ends early: {error}.") from error
    raise CheckpointUnreadable(f"{file.name} is neither safetensors nor a PyTorch checkpoint.")


def _is_npz(file: Path) -> bool:
    with zipfile.ZipFile(file) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _load_npz(file: Path) -> object:
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _load_pickle(file: Path) -> object:
    try:
        with torch.serialization.safe_globals(_list_numpy_globals() + _list_settings_globals()):
            return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        forbidden_global = re.search(r"GLOBAL ([\w.]+)|(TorchScript)", str(error))
        if forbidden_global is None:
            raise
        raise CheckpointHoldsCode(
            f"{file.name} asks for {forbidden_global[1] or 'a TorchScript program'}; "
            "only plain tensors are read. Save the network's state_dict() alone, or as safetensors."
        ) from error


def _list_numpy_globals() -> list[Any]:
    """List the globals of a pickled numeric numpy array, under old and new module names."""
    rebuild = np.empty(0).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "bool")]
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    return [
        np.ndarray,
        np.dtype,
        *kinds,
        *((rebuild, f"{module}._reconstruct") for module in modules),
        *((np.float64(0).__reduce__()[0], f"{module}.scalar") for module in modules),
    ]


def _list_settings_globals() -> list[Any]:
    """List plain containers in which training programs store settings beside the weights.

    Each is read as a type of the standard library that does nothing but hold values.
    """
    attribute_dict_modules = (
        "lightning.fabric.utilities.data",
        "lightning.pytorch.utilities.parsing",
        "lightning_fabric.utilities.data",
        "pytorch_lightning.utilities.parsing",
    )
    path_modules = ("pathlib", "pathlib._local")
    return [
        argparse.Namespace,
        *((dict, f"{module}.AttributeDict") for module in attribute_dict_modules),
        *((PurePosixPath, f"{module}.PosixPath") for module in path_modules),
        *((PureWindowsPath, f"{module}.WindowsPath") for module in path_modules),
    ]


def _iter_state_dicts(content: object, path: tuple[str, ...]) -> Iterator[StateDict]:
    if not isinstance(content, Mapping) or len(path) > _MAX_DEPTH:
        return
    mapping = cast("Mapping[Any, object]", content)
    tensors = {str(key): tensor for key, value in mapping.items() for tensor in _to_tensors(value)}
    if tensors:
        yield _remove_wrapper_modules(path, tensors)
    for key, value in mapping.items():
        yield from _iter_state_dicts(value, (*path, str(key)))


def _remove_wrapper_modules(path: tuple[str, ...], tensors: dict[str, Tensor]) -> StateDict:
    """Remove the wrappers from all keys, unless two keys would become the same."""
    removed = tuple(part for part in _WRAPPER_MODULES if any(part in key for key in tensors))
    bare = {_remove_parts(key, removed): tensor for key, tensor in tensors.items()}
    if len(bare) < len(tensors):
        return StateDict(path=path, tensors=tensors)
    return StateDict(path=path, tensors=bare, removed=removed)


def _remove_parts(key: str, parts: tuple[str, ...]) -> str:
    for part in parts:
        key = key.replace(part, "")
    return key


def _to_tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor) and value.layout == torch.strided:
        return [value.detach()]
    if isinstance(value, np.ndarray):
        array = cast("npt.NDArray[Any]", value)
        if array.dtype.kind in "fi":
            return [torch.as_tensor(array.astype(array.dtype.newbyteorder("=")))]
    return []
