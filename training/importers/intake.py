"""A public file to a backbone of ours, or a clear refusal."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.importers.backbone import Backbone
from training.importers.checkpoint import Checkpoint, read_checkpoint
from training.importers.errors import LayoutMismatch
from training.importers.layouts import Flags, Kind, build_layout
from training.importers.matching import match, translate
from training.importers.recognition import describe
from training.importers.whitening import read_whitening


def import_backbone(
    kind: Kind, file: Path, *, final_relu: bool = False, pca: Path | None = None
) -> Backbone:
    """Read a public file into our network's keys.

    Args: final_relu, pca: how VGGish ends, see `Flags`; the other kinds have no such ends.
    Raises: ImportRefused: the file cannot be read safely, is of another kind, or
        holds weights that are no numbers. A LayoutMismatch carries the report.
    """
    checkpoint = read_checkpoint(file)
    layout = build_layout(kind)
    report = match(checkpoint.tensors, layout)
    if not report.fits:
        told = [f"{file.name} is not {kind}.", *report.sentences(), describe(checkpoint.tensors)]
        raise LayoutMismatch(" ".join(told), report=report.unmatched())
    state = translate(checkpoint.tensors, layout)
    record: dict[str, Any] = {
        "source": _source(file, checkpoint),
        "unwrapped": [*checkpoint.unwrapped],
        "keys": report.unmatched(),
    }
    if pca is not None:
        whitening, source = read_whitening(pca)
        state |= {f"whitening.{key}": value for key, value in whitening.items()}
        record["pca_source"] = _source(pca, source)
    flags = Flags(final_relu=final_relu, pca=pca is not None)
    record = {"kind": str(kind), "flags": asdict(flags), **record}
    return Backbone(kind=kind, flags=flags, state=state, record=record)


def _source(file: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    return {"file": file.name, "sha256": checkpoint.sha256, "bytes": checkpoint.file_bytes}
