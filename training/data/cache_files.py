"""Cache files of tensors: each holds the key of what it was computed from, or is not used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Literal, cast

import av
from safetensors import SafetensorError
from torch import Tensor

from training.data.files import StoredTensors, open_tensors, replace_tensors

_KEY: Final = "key"


def make_cache_key(**parts: Any) -> str:
    """Hash what a file is computed from; parts are numbers, strings and lists of them.

    The version of PyAV, which decodes videos, is one of the parts.
    """
    described = json.dumps({"av": av.__version__, **parts}, sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()


@contextmanager
def open_cached(
    file: Path, key: str, framework: Literal["pt", "np"] = "np"
) -> Generator[StoredTensors | None]:
    """Open a file of the cache; None: it is missing, damaged, or has another key."""
    with ExitStack() as resources:
        try:
            stored = resources.enter_context(open_tensors(file, framework))
        except (OSError, SafetensorError):
            yield None
            return
        metadata = cast("dict[str, str] | None", stored.metadata())
        yield stored if metadata is not None and metadata.get(_KEY) == key else None


def is_cached(file: Path, key: str) -> bool:
    """Return whether a file is there and has this key."""
    with open_cached(file, key) as stored:
        return stored is not None


def write_cached(file: Path, key: str, tensors: dict[str, Tensor]) -> None:
    """Replace a file of the cache, atomically."""
    replace_tensors(file, tensors, {_KEY: key})
