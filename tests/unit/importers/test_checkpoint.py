"""Checkpoint files: formats, wrappers, damage, code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.data.files import replace_tensors
from training.importers.checkpoint_file import read_checkpoint
from training.importers.errors import (
    CheckpointDamaged,
    CheckpointHoldsCode,
    CheckpointUnreadable,
    CheckpointWithoutTensors,
    ImportRefused,
)

STATE = {f"layer.{index}.weight": torch.arange(600.0) + index for index in range(6)}


def save_before_zip(content: object, file: Path) -> None:
    torch.save(content, file, _use_new_zipfile_serialization=False)


def save_npz(state: dict[str, Tensor], file: Path) -> None:
    with file.open("wb") as stream:
        arrays: dict[str, Any] = {key: value.numpy() for key, value in state.items()}
        np.savez(stream, **arrays)


WRITERS: dict[str, Callable[[dict[str, Tensor], Path], Any]] = {
    "zip": torch.save,
    "before zip": save_before_zip,
    "safetensors": lambda state, file: replace_tensors(file, state),
    "npz": save_npz,
}
State = dict[str, Tensor]
Wrap = Callable[[State], object]


def add_prefix(prefix: str) -> Callable[[State], State]:
    return lambda state: {f"{prefix}{key}": value for key, value in state.items()}


def in_optimizer_checkpoint(state: State) -> object:
    return {"state_dict_backbone": state, "state_optimizer": {}}


def in_training_checkpoint(state: State) -> object:
    return {"state_dict": state, "epoch": 3}


def in_two_wrappers(state: State) -> object:
    return {"model": {"state_dict": state}}


def in_classifier_checkpoint(state: State) -> object:
    return {"state_dict": add_prefix("module.backbone.")(state)}


class RunsCodeWhenUnpickled:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def same_tensors(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("form", WRITERS)
def test_every_form_gives_the_tensors_that_were_written(form: str, tmp_path: Path) -> None:
    WRITERS[form](STATE, tmp_path / "file")
    assert same_tensors(read_checkpoint(tmp_path / "file").tensors, STATE)


@pytest.mark.parametrize(
    ("wrap", "unwrapped"),
    [
        (in_training_checkpoint, ("state_dict",)),
        (in_optimizer_checkpoint, ("state_dict_backbone",)),
        (in_two_wrappers, ("model", "state_dict")),
        (add_prefix("module."), ("module.",)),
        (add_prefix("module._orig_mod."), ("module._orig_mod.",)),
        (in_classifier_checkpoint, ("state_dict", "module.", "backbone.")),
    ],
)
def test_wrappers_and_prefixes_are_removed_and_named(
    wrap: Wrap, unwrapped: tuple[str, ...], tmp_path: Path
) -> None:
    torch.save(wrap(STATE), tmp_path / "file")
    checkpoint = read_checkpoint(tmp_path / "file")
    assert checkpoint.unwrapped == unwrapped
    assert same_tensors(checkpoint.tensors, STATE)


@pytest.mark.parametrize("form", WRITERS)
def test_a_file_cut_anywhere_is_refused(form: str, tmp_path: Path) -> None:
    WRITERS[form](STATE, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    cut = tmp_path / "cut"
    for length in [*range(0, 400, 7), *range(400, len(content), len(content) // 60)]:
        cut.write_bytes(content[:length])
        with pytest.raises(ImportRefused):
            read_checkpoint(cut)
    cut.write_bytes(content[:-40])
    with pytest.raises(CheckpointDamaged):
        read_checkpoint(cut)


@pytest.mark.parametrize("save", [torch.save, save_before_zip])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(
    save: Callable[[object, Path], None], tmp_path: Path
) -> None:
    save(STATE | {"note": RunsCodeWhenUnpickled(tmp_path / "ran")}, tmp_path / "file")
    with pytest.raises(CheckpointHoldsCode, match=r"posix\.mkdir"):
        read_checkpoint(tmp_path / "file")
    assert not (tmp_path / "ran").exists()


def test_a_bare_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(
        pickle.dumps(RunsCodeWhenUnpickled(tmp_path / "ran"), protocol=2)
    )
    with pytest.raises(CheckpointHoldsCode, match=r"posix\.mkdir"):
        read_checkpoint(tmp_path / "file")
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_network_is_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "file")
    with pytest.raises(CheckpointHoldsCode, match=r"state_dict\(\) alone"):
        read_checkpoint(tmp_path / "file")


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", means=np.array([RunsCodeWhenUnpickled(tmp_path / "ran")]))
    with pytest.raises(ImportRefused):
        read_checkpoint(tmp_path / "file.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("save", [torch.save, save_before_zip])
@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f4"])
def test_numpy_arrays_in_a_pickle_are_numbers_and_are_read(
    save: Callable[[object, Path], None], kind: str, tmp_path: Path
) -> None:
    save({"means": np.arange(4, dtype=kind), "best": np.float64(0.9)}, tmp_path / "file")
    means = read_checkpoint(tmp_path / "file").tensors["means"]
    assert torch.equal(means.double(), torch.arange(4.0, dtype=torch.float64))


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {}])
def test_a_checkpoint_without_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file")
    with pytest.raises(CheckpointWithoutTensors):
        read_checkpoint(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"<html>404: not found</html>", b"\0" * 64])
def test_file_that_is_not_a_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointUnreadable):
        read_checkpoint(tmp_path / "file")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnreadable, match="No such file"):
        read_checkpoint(tmp_path / "nothing")
