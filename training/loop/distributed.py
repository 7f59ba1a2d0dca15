"""Distributed training in the processes of `torchrun`: gloo on CPU, NCCL on GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

T = TypeVar("T")

_BARRIER_TIMEOUT = timedelta(hours=12)
"""Processes wait while the leader validates, and for folds that take longer than their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Rank of the process and number of processes."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_leader(self) -> bool:
        """True in the process that writes shared files."""
        return self.rank == 0

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """Return every size-th item, starting at this process's rank."""
        return items[self.rank :: self.size]

    def wait_for_all(self) -> None:
        """Wait until every process has called this."""
        if self.size > 1:
            distributed.barrier()  # pyright: ignore[reportUnknownMemberType]  # untyped device_ids

    def broadcast_from_leader(self, compute: Callable[[], T]) -> T:
        """Call `compute` in the leader; returns its result in every process."""
        if self.size == 1:
            return compute()
        holder: list[Any] = [compute() if self.is_leader else None]
        distributed.broadcast_object_list(holder, src=0)
        return holder[0]


@contextmanager
def join_ranks(device: str = "auto") -> Generator[Ranks]:
    """Join the process group of `torchrun`; a single rank without it.

    `device` is a device's name, or "auto" for a GPU where torch finds one.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    selected_device = _select_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield Ranks(rank=0, size=1, device=selected_device)
        return
    backend = "nccl" if selected_device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=_BARRIER_TIMEOUT)
    try:
        yield Ranks(rank=rank, size=size, device=selected_device)
    finally:
        distributed.destroy_process_group()


def _select_device(name: str, local_rank: int) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cuda":
        return torch.device(name)
    torch.cuda.set_device(local_rank)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    return torch.device("cuda", local_rank)
