"""The loop itself: one part is fitted until its validation CCC no longer grows, or time is up."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.data.files import replace_file
from training.loop.checkpoint import Checkpoint, load_optimizer_state, optimizer_state
from training.loop.errors import TrainingDiverged
from training.loop.journal import Journal, describe, write_metrics
from training.loop.options import Schedule
from training.loop.pace import Pace
from training.loop.ranks import Ranks
from training.metrics import Scores

CHECKPOINT: Final = "checkpoint.safetensors"
WEIGHTS: Final = "weights.safetensors"
METRICS: Final = "metrics.jsonl"


class Part(Protocol):
    """Something to fit: a network, its batches, its loss, and how good it is."""

    name: str
    model: nn.Module

    def thaw(self, epoch: int) -> None:
        """Put the model in training mode, and open what may learn in this epoch."""
        ...

    def batches(self, epoch: int) -> Iterable[Any]:
        """The epoch's batches for this process; `steps` of them."""
        ...

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """What to minimise, (); `model` is the part's own, maybe wrapped."""
        ...

    def validate(self) -> Scores:
        """The concordance on what is held out."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a fit depends on, besides the part."""

    schedule: Schedule
    learning_rate: float
    seed: int
    ranks: Ranks
    journal: Journal


def fit(part: Part, folder: Path, conditions: Conditions) -> None:
    """Fit a part, going on from its checkpoint, and write its best weights and its metrics.

    Writes checkpoint.safetensors after each epoch, then metrics.jsonl; weights.safetensors at
    the end.
    """
    part.model.to(conditions.ranks.device)
    schedule = conditions.schedule
    optimizer = torch.optim.Adam(
        part.model.parameters(), lr=conditions.learning_rate, weight_decay=schedule.weight_decay
    )
    pace = Pace(optimizer, schedule, conditions.learning_rate)
    point = Checkpoint.load(folder / CHECKPOINT)
    if point.epochs:
        part.model.load_state_dict(point.model)
        load_optimizer_state(optimizer, point.optimizer)
        pace.load(point.pace)
    while not point.finished:
        _fit_epoch(part, point, optimizer, pace, conditions)
        point.finished = pace.is_over or point.epochs >= schedule.epochs
        if conditions.ranks.leads:
            point.save(folder / CHECKPOINT)
            write_metrics(folder / METRICS, point.history)
        conditions.journal.say(describe(part.name, point.history[-1]))
    if conditions.ranks.leads and not (folder / WEIGHTS).is_file():
        best = {name: value.cpu().contiguous() for name, value in point.best.items()}
        replace_file(folder / WEIGHTS, lambda file: save_file(best, file))
    conditions.ranks.meet()


def _fit_epoch(
    part: Part,
    point: Checkpoint,
    optimizer: torch.optim.Optimizer,
    pace: Pace,
    conditions: Conditions,
) -> None:
    began, epoch, rate = time.perf_counter(), point.epochs, pace.learning_rate
    loss = _learn(part, epoch, optimizer, conditions)
    if not math.isfinite(loss):
        raise TrainingDiverged(f"{part.name}, epoch {epoch}")
    scores = conditions.ranks.ask_leader(part.validate)
    is_best = pace.step(epoch, scores.mean)
    point.epochs = epoch + 1
    point.pace = pace.state()
    point.model = dict(part.model.state_dict())
    point.optimizer = optimizer_state(optimizer)
    if is_best:
        point.best = {name: value.detach().clone() for name, value in point.model.items()}
    record = {"epoch": epoch, "loss": loss, **scores.as_dict(), "learning_rate": rate}
    seconds = round(time.perf_counter() - began, 3)
    point.history.append(record | {"is_best": is_best, "seconds": seconds})


def _learn(
    part: Part, epoch: int, optimizer: torch.optim.Optimizer, conditions: Conditions
) -> float:
    """One epoch of steps; its mean loss, in this process."""
    part.thaw(epoch)
    ranks = conditions.ranks
    # wrapped anew each epoch: what may learn changes, and the wrapper looks only once
    model = DistributedDataParallel(part.model) if ranks.size > 1 else part.model
    total = torch.zeros((), dtype=torch.float64)
    title = f"{part.name} epoch {epoch}"
    batches = conditions.journal.follow(part.batches(epoch), total=part.steps, title=title)
    for step, batch in enumerate(batches):
        _seed_step(conditions.seed, part.name, epoch, step, ranks.rank)
        optimizer.zero_grad()
        loss = part.loss(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(part.model.parameters(), conditions.schedule.gradient_norm)
        optimizer.step()
        total += loss.detach().double().cpu()
    return float(total / part.steps)


def _seed_step(*key: object) -> None:
    """Dropout's draws follow from what is learnt when, not from what was drawn before."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little"))
