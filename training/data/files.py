"""Files of a run: text and tensors, each written completely or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import safetensors.torch
from safetensors import safe_open
from torch import Tensor


class StoredTensors(Protocol):
    """An open safetensors file; values are of the framework that it was opened for."""

    def keys(self) -> list[str]:
        """List the names of the tensors."""
        ...

    def metadata(self) -> dict[str, str]:
        """Return the header's metadata."""
        ...

    def get_tensor(self, name: str) -> Any:
        """Read a whole tensor."""
        ...

    def get_slice(self, name: str) -> Any:
        """Return an object whose slices read a part of a tensor."""
        ...


def replace_file(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `target`, sync it, then move it to `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as folder:
        part = Path(folder) / target.name
        write(part)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(target)


def replace_text(target: Path, text: str) -> None:
    """Replace a file by this text, atomically."""
    replace_file(target, lambda part: part.write_text(text, encoding="utf-8"))


def replace_tensors(
    target: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Replace a safetensors file, atomically."""
    header = None if metadata is None else dict(metadata)
    save = cast("Callable[..., None]", safetensors.torch.save_file)  # pyright: ignore[reportUnknownMemberType]  # a bare PathLike in its signature
    replace_file(target, lambda part: save(tensors, part, header))


def load_tensors(file: Path) -> dict[str, Tensor]:
    """Read every tensor of a safetensors file."""
    load = cast("Callable[..., dict[str, Tensor]]", safetensors.torch.load_file)  # pyright: ignore[reportUnknownMemberType]  # a bare PathLike in its signature
    return load(file)


def open_tensors(
    file: Path, framework: Literal["pt", "np"]
) -> AbstractContextManager[StoredTensors]:
    """Open a safetensors file for torch tensors ("pt") or numpy arrays ("np")."""
    return cast("AbstractContextManager[StoredTensors]", safe_open(file, framework=framework))
