"""Where a part's training stands, in one file that is whole or not there: no pickle in it.

Tensors by name: `model.*` and `best.*` hold state dicts, `optimizer.*` what Adam remembers.
The rest is JSON in the file's header. Randomness has no state: every step draws from a seed of
its own, so a training that goes on from here does what it would have done.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from training.data.atomic_files import replace_file

StateDict = dict[str, Tensor]


@dataclass(slots=True, kw_only=True)
class TrainingCheckpoint:
    """After `epochs` epochs; `history` has one record for each."""

    epochs: int = 0
    finished: bool = False
    pace: dict[str, Any] = field(default_factory=dict[str, Any])
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    model: StateDict = field(default_factory=dict[str, Tensor])
    best: StateDict = field(default_factory=dict[str, Tensor])
    optimizer: StateDict = field(default_factory=dict[str, Tensor])

    def save(self, file: Path) -> None:
        """Write all of it, or leave what was there."""
        tensors = {
            f"{group}.{name}": value.detach().cpu().contiguous().clone()
            for group in ("model", "best", "optimizer")
            for name, value in getattr(self, group).items()
        }
        facts = {"epochs": self.epochs, "finished": self.finished, "pace": self.pace}
        header = {"state": json.dumps(facts | {"history": self.history})}
        replace_file(file, lambda part: save_file(tensors, part, header))

    @staticmethod
    def load(file: Path) -> TrainingCheckpoint:
        """What `save` wrote; a fresh one where there is no file."""
        if not file.is_file():
            return TrainingCheckpoint()
        groups: dict[str, StateDict] = {"model": {}, "best": {}, "optimizer": {}}
        with safe_open(file, framework="pt") as stored:
            facts = json.loads(stored.metadata()["state"])
            for key in stored.keys():  # noqa: SIM118  (not a mapping)
                group, _, name = key.partition(".")
                groups[group][name] = stored.get_tensor(key)
        model, best, optimizer = groups.values()
        return TrainingCheckpoint(**facts, model=model, best=best, optimizer=optimizer)


def flatten_optimizer_state(optimizer: Optimizer) -> StateDict:
    """What the optimizer remembers of each parameter, by its place and the memory's name."""
    state_by_parameter: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {
        f"{place}.{name}": torch.as_tensor(value)
        for place, memory in state_by_parameter.items()
        for name, value in memory.items()
    }


def load_optimizer_state(optimizer: Optimizer, state: StateDict) -> None:
    """Give it back what `optimizer_state` took."""
    state_by_parameter: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        place, _, name = key.partition(".")
        state_by_parameter.setdefault(int(place), {})[name] = value
    current_state = optimizer.state_dict()
    optimizer.load_state_dict(current_state | {"state": state_by_parameter})
