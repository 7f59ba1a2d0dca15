from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from training.importers.checkpoint_file import read_checkpoint
from training.importers.errors import (
    CheckpointDamaged,
    CheckpointHoldsCode,
    CheckpointUnreadable,
    CheckpointWithoutTensors,
    ImportRefused,
)

STATE = {f"layer.{index}.weight": torch.arange(600.0) + index for index in range(6)}


def save_old(content: object, file: Path) -> None:
    torch.save(content, file, _use_new_zipfile_serialization=False)


def save_npz(state: dict[str, Tensor], file: Path) -> None:
    with file.open("wb") as stream:
        np.savez(stream, **{key: value.numpy() for key, value in state.items()})


WRITERS: dict[str, Callable[[dict[str, Tensor], Path], Any]] = {
    "zip": torch.save,
    "before zip": save_old,
    "safetensors": safetensors.torch.save_file,
    "npz": save_npz,
}


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
        (lambda s: {"state_dict": s, "epoch": 3}, ("state_dict",)),
        (lambda s: {"state_dict_backbone": s, "state_optimizer": {}}, ("state_dict_backbone",)),
        (lambda s: {"model": {"state_dict": s}}, ("model", "state_dict")),
        (lambda s: {f"module.{k}": v for k, v in s.items()}, ("module.",)),
        (lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()}, ("module._orig_mod.",)),
        (
            lambda s: {"state_dict": {f"module.backbone.{k}": v for k, v in s.items()}},
            ("state_dict", "module.", "backbone."),
        ),
    ],
)
def test_wrappers_and_prefixes_are_taken_off_and_named(
    wrap: Callable[[dict[str, Tensor]], object], unwrapped: tuple[str, ...], tmp_path: Path
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


@pytest.mark.parametrize("save", [torch.save, save_old])
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


@pytest.mark.parametrize("save", [torch.save, save_old])
@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f4"])
def test_numpy_arrays_in_a_pickle_are_numbers_and_are_read(
    save: Callable[[object, Path], None], kind: str, tmp_path: Path
) -> None:
    save({"means": np.arange(4, dtype=kind), "best": np.float64(0.9)}, tmp_path / "file")
    means = read_checkpoint(tmp_path / "file").tensors["means"]
    assert means.tolist() == [0, 1, 2, 3]


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


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnreadable, match="No such file"):
        read_checkpoint(tmp_path / "nothing")
