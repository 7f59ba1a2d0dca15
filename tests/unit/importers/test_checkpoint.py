"""Checkpoint files: formats, wrappers, damage, code."""

from __future__ import annotations

import os
import pickle
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
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


class RunsCodeWhenUnpickled:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read the only state dict of a file."""
    (state_dict,) = read_checkpoint(file).state_dicts
    return state_dict.tensors


def same_tensors(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("form", WRITERS)
def test_every_form_gives_the_tensors_that_were_written(form: str, tmp_path: Path) -> None:
    WRITERS[form](STATE, tmp_path / "file")
    assert same_tensors(read_tensors(tmp_path / "file"), STATE)


def test_settings_beside_the_weights_are_read_without_their_classes(tmp_path: Path) -> None:
    settings = {"args": Namespace(rate=0.1, out=tmp_path), "callbacks": {"Stop": {"best": 0.5}}}
    torch.save({"state_dict": STATE, "hyper_parameters": settings}, tmp_path / "file")
    assert same_tensors(read_tensors(tmp_path / "file"), STATE)


def test_a_settings_class_of_lightning_is_read_as_a_dict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "pytorch_lightning.utilities.parsing"
    attribute_dict = type("AttributeDict", (dict,), {"__module__": name})
    with monkeypatch.context() as patch:
        for package in ("pytorch_lightning", "pytorch_lightning.utilities", name):
            patch.setitem(sys.modules, package, ModuleType(package))
        sys.modules[name].__dict__["AttributeDict"] = attribute_dict
        settings = attribute_dict(rate=0.1)
        torch.save({"state_dict": STATE, "hyper_parameters": settings}, tmp_path / "file")
    assert same_tensors(read_tensors(tmp_path / "file"), STATE)


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
    means = read_tensors(tmp_path / "file")["means"]
    assert torch.equal(means.double(), torch.arange(4.0, dtype=torch.float64))


@pytest.mark.parametrize(
    "content", [{"epoch": 3}, [1, 2], {}, {"shadow_params": [torch.zeros(3)], "decay": 0.9}]
)
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
