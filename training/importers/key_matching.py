"""A file's tensors held against a layout: what fits, and every key that does not."""

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
    """Every key of a file or a layout that found no partner."""

    matched: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]
    """`key: (found) instead of (expected)`."""
    left_out: tuple[str, ...]
    """Parts of the file that the backbone has no use for."""
    filled: tuple[str, ...]
    """Batch norms' step counters, which old files lack: set to 0, without effect."""
    converted: tuple[str, ...]
    """Tensors stored in another precision than float32."""

    @property
    def fits(self) -> bool:
        """Whether the file is of the layout's kind."""
        return not (self.missing or self.unexpected or self.wrong_shape)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        return {key: value if key == "matched" else [*value] for key, value in asdict(self).items()}

    def describe(self) -> list[str]:
        """One sentence for each way in which the file does not fit."""
        found = {
            "keys are missing": self.missing,
            "keys are unexpected": self.unexpected,
            "keys have another shape": self.wrong_shape,
        }
        return [_format_mismatch(what, keys) for what, keys in found.items() if keys]


def _format_mismatch(what: str, keys: tuple[str, ...]) -> str:
    more = " and others" if len(keys) > _MAX_LISTED_KEYS else ""
    return f"{len(keys)} {what}: {', '.join(keys[:_MAX_LISTED_KEYS])}{more}."


def match_keys(tensors: Mapping[str, Tensor], layout: KeyLayout) -> KeyReport:
    """Compare keys and shapes; values are not looked at."""
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
    """The tensors of a file that fits, under our keys, in our precision.

    Raises: WeightsNotFinite: the first key that holds NaN or infinity is named.
    """
    state: dict[str, Tensor] = {}
    for public, ours in layout.keys.items():
        if ours.endswith(_COUNTER_SUFFIX):
            state[ours] = tensors.get(public, torch.zeros(())).to(torch.int64)
            continue
        state[ours] = tensors[public].to(torch.float32).contiguous()
        if not state[ours].isfinite().all():
            raise WeightsNotFinite(f"{public} holds NaN or infinity.")
    return state
