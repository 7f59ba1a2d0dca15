"""Candidates: the parts of a checkpoint that may be the backbone, and the choice of one.

A checkpoint holds state dicts, in mappings of any name; a state dict holds the backbone under a
prefix, such as `model.`, `backbone.` or `ema_model.module.`, beside other parts of a network. Which
prefix it is follows from the keys of the wanted layout, not from a list of names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from training.importers.checkpoint_file import CheckpointContents, StateDict
from training.importers.errors import WeightsAmbiguous, WeightsNotFound
from training.importers.key_matching import KeyReport, match_keys
from training.importers.layouts import KeyLayout

_MIN_SHARE: Final = 0.5
"""Share of a layout's keys from which a prefix is taken for a network of its own."""
_MIN_PART: Final = 0.1
"""Share of a layout's keys below which none of it is found: others have a `conv1.weight` too."""
_AVERAGED: Final = re.compile(r"(?<![A-Za-z])(ema|swa|averaged?|shadow)(?![a-z])|EMA|SWA")
TOP_LEVEL: Final = "top level"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsCandidate:
    """Tensors under one prefix of one state dict, with the prefix removed, and their report.

    is_averaged: they are a moving average of weights (EMA, SWA), by a name in the file.
    """

    state_dict: StateDict
    prefix: str
    tensors: dict[str, Tensor]
    report: KeyReport
    is_averaged: bool

    @property
    def name(self) -> str:
        """Name of the candidate in messages and for the option that chooses it."""
        return "/".join((*self.state_dict.path, self.prefix)).strip("/") or TOP_LEVEL

    @property
    def unwrapped(self) -> tuple[str, ...]:
        """Keys, prefix and parts of keys that were removed."""
        parts = (*self.state_dict.path, self.prefix, *self.state_dict.removed)
        return tuple(part for part in parts if part)

    def describe(self) -> dict[str, Any]:
        """Describe the candidate for a record."""
        return {"name": self.name, "averaged": self.is_averaged}


def find_candidates(checkpoint: CheckpointContents, layout: KeyLayout) -> list[WeightsCandidate]:
    """Find every part that has keys of the layout, the best first; at least one."""
    found = [
        candidate
        for state_dict in checkpoint.state_dicts
        for candidate in _iter_candidates(state_dict, layout)
    ]
    return sorted(found, key=lambda each: (not each.report.fits, -each.report.matched))


def choose_candidate(candidates: Sequence[WeightsCandidate], name: str | None) -> WeightsCandidate:
    """Choose the candidate of a name, or the only one that fits; the best if none does.

    Raises: WeightsAmbiguous, WeightsNotFound.
    """
    fitting = [candidate for candidate in candidates if candidate.report.fits]
    listed = "; ".join(_label(candidate) for candidate in fitting)
    if name is not None and fitting:
        chosen = [candidate for candidate in fitting if candidate.name == name]
        if not chosen:
            raise WeightsNotFound(f"No weights {name!r} fit. These do: {listed}.")
        return chosen[0]
    if any(not _is_same(fitting[0], other) for other in fitting[1:]):
        raise WeightsAmbiguous(
            f"Different weights in the file fit: {listed}. Name one with --weights."
        )
    return candidates[0]


def _label(candidate: WeightsCandidate) -> str:
    return f"{candidate.name} (averaged)" if candidate.is_averaged else candidate.name


def _iter_candidates(state_dict: StateDict, layout: KeyLayout) -> Iterator[WeightsCandidate]:
    prefixes = _find_prefixes(state_dict.tensors, layout)
    parts: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in prefixes}
    owners = {key: _find_owner(key, prefixes) for key in state_dict.tensors}
    for key, tensor in state_dict.tensors.items():
        owner = owners[key]
        if owner is not None:
            parts[owner][key.removeprefix(owner)] = tensor
    for prefix, tensors in parts.items():
        outside = tuple(key for key, owner in owners.items() if owner != prefix)
        report = match_keys(tensors, layout)
        names = (*state_dict.path, prefix, *(key for key in outside if "." not in key))
        yield WeightsCandidate(
            state_dict=state_dict,
            prefix=prefix,
            tensors=tensors,
            report=replace(report, left_out=(*report.left_out, *outside)),
            is_averaged=any(_AVERAGED.search(name) for name in names),
        )


def _find_prefixes(tensors: Mapping[str, Tensor], layout: KeyLayout) -> list[str]:
    """Find the prefixes under which most of a layout lies, the longest first."""
    counts: Counter[str] = Counter()
    for key in tensors:
        starts = [0, *(match.end() for match in re.finditer(r"\.", key))]
        counts.update(key[:start] for start in starts if key[start:] in layout.shapes)
    best = max(counts.values(), default=0)
    if best < _MIN_PART * len(layout.shapes):
        return [""]
    threshold = min(best, _MIN_SHARE * len(layout.shapes))
    return sorted((prefix for prefix, count in counts.items() if count >= threshold), key=len)[::-1]


def _find_owner(key: str, prefixes: Sequence[str]) -> str | None:
    return next((prefix for prefix in prefixes if key.startswith(prefix)), None)


def _is_same(one: WeightsCandidate, other: WeightsCandidate) -> bool:
    """Compare the tensors that the layout names."""
    return all(
        key in other.tensors and torch.equal(tensor, other.tensors[key])
        for key, tensor in one.tensors.items()
    )
