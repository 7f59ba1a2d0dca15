"""Reading of checkpoint files as named tensors, without executing code in them."""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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

_WRAPPER_KEYS: Final = (
    "state_dict",
    "state_dict_backbone",
    "model_state_dict",
    "model",
    "backbone",
)
"""Keys under which training scripts store the state dict; the second is ArcFace-torch's."""
_PREFIXES: Final = ("module.", "_orig_mod.")
"""Key prefixes of DataParallel and torch.compile."""
_BACKBONE_PREFIX: Final = "backbone."
"""Key prefix of a classifier's backbone; the keys of its head have none."""
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
class CheckpointContents:
    """Tensors of one file; `unwrapped` names the wrappers and prefixes that were removed."""

    tensors: dict[str, Tensor]
    sha256: str
    file_bytes: int
    unwrapped: tuple[str, ...]


def read_checkpoint(file: Path) -> CheckpointContents:
    """Read safetensors, a PyTorch checkpoint (zip or older), or numpy's .npz.

    Raises: CheckpointUnreadable, CheckpointDamaged, CheckpointHoldsCode,
        CheckpointWithoutTensors.
    """
    try:
        content, unwrapped = _unwrap(_load(file))
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointUnreadable(f"{file} cannot be read: {error.strerror}.") from error
    tensors = {str(key): tensor for key, value in content.items() for tensor in _to_tensors(value)}
    if not tensors:
        raise CheckpointWithoutTensors(f"{file.name} holds no state dict.")
    prefix = _find_common_prefix(tensors)
    bare = {key.removeprefix(prefix): value for key, value in tensors.items()}
    part = _BACKBONE_PREFIX if any(key.startswith(_BACKBONE_PREFIX) for key in bare) else ""
    return CheckpointContents(
        tensors={key.removeprefix(part): value for key, value in bare.items()},
        sha256=sha256,
        file_bytes=file.stat().st_size,
        unwrapped=(*unwrapped, *(name for name in (prefix, part) if name)),
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
        with torch.serialization.safe_globals(_list_numpy_globals()):
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


def _unwrap(content: object, depth: int = 3) -> tuple[Mapping[Any, object], tuple[str, ...]]:
    if not isinstance(content, Mapping):
        return {}, ()
    mapping = cast("Mapping[Any, object]", content)
    for wrapper in _WRAPPER_KEYS if depth else ():
        if isinstance(mapping.get(wrapper), Mapping):
            inner, unwrapped = _unwrap(mapping[wrapper], depth - 1)
            return inner, (wrapper, *unwrapped)
    return mapping, ()


def _to_tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor) and value.layout == torch.strided:
        return [value.detach()]
    if isinstance(value, np.ndarray):
        array = cast("npt.NDArray[Any]", value)
        if array.dtype.kind in "fi":
            return [torch.as_tensor(array.astype(array.dtype.newbyteorder("=")))]
    return []


def _find_common_prefix(tensors: Mapping[str, Tensor]) -> str:
    prefix = ""
    while step := next(
        (p for p in _PREFIXES if all(k.startswith(prefix + p) for k in tensors)), ""
    ):
        prefix += step
    return prefix
