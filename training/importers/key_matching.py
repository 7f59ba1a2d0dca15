"""Matching of a file's tensors with the expected layout, and conversion of their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from training.importers.errors import WeightsNotFinite
from training.importers.layouts import KeyLayout

_COUNTER_SUFFIX: Final = "num_batches_tracked"
_MAX_LISTED_KEYS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """Matched and unmatched keys of a file and a layout."""

    matched: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]
    """`key: (found) instead of (expected)`."""
    left_out: tuple[str, ...]
    """Keys of other parts of the file, which are not imported."""
    filled: tuple[str, ...]
    """Batch norms' step counters, which old files lack: set to 0, without effect."""
    converted: tuple[str, ...]
    """Tensors stored in another precision than float32."""

    @property
    def fits(self) -> bool:
        """True if the file has the layout's keys and shapes."""
        return not (self.missing or self.unexpected or self.wrong_shape)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {key: value if key == "matched" else [*value] for key, value in asdict(self).items()}

    def describe(self) -> list[str]:
        """Describe each kind of mismatch in one sentence."""
        found = {
            "keys are missing": self.missing,
            "keys are unexpected": self.unexpected,
            "keys have another shape": self.wrong_shape,
        }
        return [_format_mismatch(problem, keys) for problem, keys in found.items() if keys]


def _format_mismatch(problem: str, keys: tuple[str, ...]) -> str:
    more = " and others" if len(keys) > _MAX_LISTED_KEYS else ""
    return f"{len(keys)} {problem}: {', '.join(keys[:_MAX_LISTED_KEYS])}{more}."


def match_keys(tensors: Mapping[str, Tensor], layout: KeyLayout) -> KeyReport:
    """Compare keys and shapes, not values."""
    absent = [key for key in layout.shapes if key not in tensors]
    known = {key: tensors[key] for key in layout.shapes if key in tensors}
    others = [key for key in tensors if key not in layout.shapes]
    wrong = {key: tensor for key, tensor in known.items() if tensor.shape != layout.shapes[key]}
    return KeyReport(
        matched=len(known) - len(wrong),
        missing=tuple(key for key in absent if not key.endswith(_COUNTER_SUFFIX)),
        unexpected=tuple(key for key in others if not layout.ignored_keys.fullmatch(key)),
        wrong_shape=tuple(
            f"{key}: {tuple(tensor.shape)} instead of {layout.shapes[key]}"
            for key, tensor in wrong.items()
        ),
        left_out=tuple(key for key in others if layout.ignored_keys.fullmatch(key)),
        filled=tuple(key for key in absent if key.endswith(_COUNTER_SUFFIX)),
        converted=tuple(
            f"{key}: {tensor.dtype}".replace("torch.", "")
            for key, tensor in known.items()
            if not key.endswith(_COUNTER_SUFFIX) and tensor.dtype != torch.float32
        ),
    )


def convert_tensors(tensors: Mapping[str, Tensor], layout: KeyLayout) -> dict[str, Tensor]:
    """Convert a matching file's tensors to this project's keys and float32.

    Raises: WeightsNotFinite: names the first key with NaN or infinity.
    """
    state: dict[str, Tensor] = {}
    for public_key, key in layout.keys.items():
        if key.endswith(_COUNTER_SUFFIX):
            state[key] = tensors.get(public_key, torch.zeros(())).to(torch.int64)
            continue
        state[key] = tensors[public_key].to(torch.float32).contiguous()
        if not state[key].isfinite().all():
            raise WeightsNotFinite(f"{public_key} holds NaN or infinity.")
    return state
