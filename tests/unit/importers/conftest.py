"""Fixtures: full-size files in the public layouts, written once and removed after the tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.unit.importers import public_layouts as public


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="public-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def arcface_file(folder: Path) -> Path:
    file = folder / "backbone.pth"
    torch.save(public.make_state_dict(public.arcface_iresnet50()), file)
    return file


@pytest.fixture(scope="session")
def emotion_file(folder: Path) -> Path:
    """A file in PyTorch's format before zip archives, as the original."""
    file = folder / "res50_ir_0.887.pth"
    state = public.make_state_dict(public.emotion_ir50())
    torch.save(state, file, _use_new_zipfile_serialization=False)
    return file


@pytest.fixture(scope="session")
def vggish_file(folder: Path) -> Path:
    file = folder / "vggish.pth"
    torch.save(public.make_state_dict(public.vggish()), file)
    return file
