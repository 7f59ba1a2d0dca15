"""Errors of the import of public weights.

ImportRefused
├── CheckpointUnreadable      neither safetensors nor a PyTorch checkpoint
├── CheckpointDamaged         bytes are missing or changed
├── CheckpointHoldsCode       a pickle that needs code to be executed
├── CheckpointWithoutTensors  the file has no state dict
├── LayoutMismatch            keys or shapes differ from this kind's
├── WeightsAmbiguous          several sets of weights fit, such as raw and averaged ones
├── WeightsNotFound           the named set of weights is none that fits
├── WeightsNotFinite          NaN or infinity among the weights
├── OnnxUnreadable            no ONNX model, or a damaged one
├── OnnxNotSelfContained      an ONNX model that refers to other files or to its own operators
├── ArchitectureMismatch      an ONNX model of another network
└── BackboneFileInvalid       an imported file is incomplete or was changed
"""

from __future__ import annotations

from typing import Any


class ImportRefused(Exception):
    """The file is not imported."""

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or (self.__doc__ or "").splitlines()[0])


class CheckpointUnreadable(ImportRefused):
    """The file is neither safetensors nor a PyTorch checkpoint."""


class CheckpointDamaged(ImportRefused):
    """Bytes are missing or changed: the file was not downloaded or copied whole."""


class CheckpointHoldsCode(ImportRefused):
    """The pickle asks for code to be run. Only plain state dicts are read."""


class CheckpointWithoutTensors(ImportRefused):
    """The file holds no state dict."""


class LayoutMismatch(ImportRefused):
    """The file's keys or shapes are not those of this kind of weights."""

    def __init__(self, detail: str | None = None, *, report: dict[str, Any] | None = None) -> None:
        self.report = report or {}
        """Every unmatched key, see `key_matching.KeyReport`."""
        super().__init__(detail)


class WeightsAmbiguous(ImportRefused):
    """Several different sets of weights in the file fit; one has to be named."""


class WeightsNotFound(ImportRefused):
    """The file has no fitting set of weights of this name."""


class WeightsNotFinite(ImportRefused):
    """Some weights are NaN or infinite."""


class OnnxUnreadable(ImportRefused):
    """The file is not an ONNX model, or bytes of it are missing or changed."""


class OnnxNotSelfContained(ImportRefused):
    """The ONNX model refers to other files, or to operators that are not of the standard."""


class ArchitectureMismatch(ImportRefused):
    """The ONNX model does not compute what the named network computes."""


class BackboneFileInvalid(ImportRefused):
    """The imported file is incomplete, or was changed after it was imported."""
