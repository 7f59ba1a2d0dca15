"""Checkpoint of a part's training, in one safetensors file that is written atomically.

Tensors by name: `model.*` and `best.*` are state dicts, `optimizer.*` is the state of Adam. The
rest is JSON in the file's header. There is no random state: every step is seeded by its number, so
a resumed training gives the same result as an uninterrupted one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from training.data.files import open_tensors, replace_tensors

StateDict = dict[str, Tensor]


@dataclass(slots=True, kw_only=True)
class TrainingCheckpoint:
    """State after `epochs` epochs; `history` has one record per epoch."""

    epochs: int = 0
    finished: bool = False
    pace: dict[str, Any] = field(default_factory=dict[str, Any])
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    model: StateDict = field(default_factory=dict[str, Tensor])
    best: StateDict = field(default_factory=dict[str, Tensor])
    optimizer: StateDict = field(default_factory=dict[str, Tensor])

    def save(self, file: Path) -> None:
        """Write the checkpoint atomically."""
        tensors = {
            f"{group}.{name}": value.detach().cpu().contiguous().clone()
            for group in ("model", "best", "optimizer")
            for name, value in getattr(self, group).items()
        }
        facts = {"epochs": self.epochs, "finished": self.finished, "pace": self.pace}
        header = {"state": json.dumps(facts | {"history": self.history})}
        replace_tensors(file, tensors, header)

    @staticmethod
    def load(file: Path) -> TrainingCheckpoint:
        """Read a checkpoint; returns an empty one if there is no file."""
        if not file.is_file():
            return TrainingCheckpoint()
        groups: dict[str, StateDict] = {"model": {}, "best": {}, "optimizer": {}}
        with open_tensors(file, "pt") as stored:
            facts = json.loads(stored.metadata()["state"])
            for key in stored.keys():  # noqa: SIM118 - not a mapping
                group, _, name = key.partition(".")
                groups[group][name] = stored.get_tensor(key)
        model, best, optimizer = groups.values()
        return TrainingCheckpoint(**facts, model=model, best=best, optimizer=optimizer)


def flatten_optimizer_state(optimizer: Optimizer) -> StateDict:
    """Flatten the optimizer's state: keys are the parameter's index and the state's name."""
    state_by_parameter: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {
        f"{place}.{name}": torch.as_tensor(value)
        for place, memory in state_by_parameter.items()
        for name, value in memory.items()
    }


def load_optimizer_state(optimizer: Optimizer, state: StateDict) -> None:
    """Restore a state from `flatten_optimizer_state`."""
    state_by_parameter: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        place, _, name = key.partition(".")
        state_by_parameter.setdefault(int(place), {})[name] = value
    current_state = optimizer.state_dict()
    optimizer.load_state_dict(current_state | {"state": state_by_parameter})
