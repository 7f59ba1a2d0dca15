"""Import of torchvggish's PCA parameters as buffers of `Whitening`."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from service.domain.model_signatures import VOICE_FEATURES
from training.importers.checkpoint_file import CheckpointContents, read_checkpoint
from training.importers.errors import LayoutMismatch, WeightsNotFinite

_KEY_PAIRS: Final = (
    ("pca_eigen_vectors", "pca_means"),
    ("pproc.pca_eigen_vectors", "pproc.pca_means"),
    ("pproc.pca_matrix", "pproc.pca_means"),
)
"""Keys of the public PCA file, of a complete torchvggish model, and of an older one."""


def read_whitening(file: Path) -> tuple[dict[str, Tensor], CheckpointContents]:
    """Read the PCA file, .pth or .npz.

    Returns: `axes` (128, 128) and `means` (128,), float32, and the file's contents.
    Raises: ImportRefused: the file cannot be read safely, or has no PCA parameters.
    """
    checkpoint = read_checkpoint(file)
    for state_dict, (axes_key, means_key) in product(checkpoint.state_dicts, _KEY_PAIRS):
        axes, means = (state_dict.tensors.get(key) for key in (axes_key, means_key))
        if axes is None or means is None:
            continue
        if axes.shape != (VOICE_FEATURES, VOICE_FEATURES) or means.numel() != VOICE_FEATURES:
            raise LayoutMismatch(
                f"{file.name}: {axes_key} {tuple(axes.shape)} and {means_key} "
                f"{tuple(means.shape)} instead of (128, 128) and (128,)."
            )
        if not (axes.isfinite().all() and means.isfinite().all()):
            raise WeightsNotFinite(f"{file.name} holds NaN or infinity.")
        return {
            "axes": axes.to(torch.float32).contiguous(),
            "means": means.to(torch.float32).flatten().contiguous(),
        }, checkpoint
    raise LayoutMismatch(
        f"{file.name} holds no PCA parameters: pca_eigen_vectors and pca_means are missing."
    )
