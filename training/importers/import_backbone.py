"""Import of a public file as a backbone of this project."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.importers.backbone import ImportedBackbone
from training.importers.candidates import TOP_LEVEL, choose_candidate, find_candidates
from training.importers.checkpoint_file import CheckpointContents, read_checkpoint
from training.importers.diagnosis import diagnose_checkpoint
from training.importers.errors import LayoutMismatch
from training.importers.key_matching import convert_tensors
from training.importers.layouts import (
    PUBLISHED_CONFIGS,
    BackboneKind,
    VggishFlags,
    build_layout,
)
from training.importers.published import import_published
from training.importers.whitening import read_whitening


def import_backbone(
    kind: BackboneKind,
    file: Path,
    *,
    final_relu: bool = False,
    pca: Path | None = None,
    weights: str | None = None,
) -> ImportedBackbone:
    """Read a public file and map its tensors to this project's keys.

    `final_relu` and `pca` are for VGGish only, see `VggishFlags`. `weights` names one of several
    sets of weights in the file.

    Raises: ImportRefused: the file cannot be read safely, is of another kind, has weights that are
        not finite, or several that fit. A LayoutMismatch has the key report.
    """
    if kind in PUBLISHED_CONFIGS:
        return import_published(kind, file)
    checkpoint = read_checkpoint(file)
    layout = build_layout(kind)
    chosen = choose_candidate(find_candidates(checkpoint, layout), weights)
    report = chosen.report
    if not report.fits:
        place = [] if chosen.name == TOP_LEVEL else [f"Its best part is {chosen.name}."]
        message_parts = [
            f"{file.name} is not {kind}.",
            *place,
            *report.describe(),
            diagnose_checkpoint(checkpoint, chosen),
        ]
        raise LayoutMismatch(" ".join(message_parts), report=report.as_dict())
    state = convert_tensors(chosen.tensors, layout)
    record: dict[str, Any] = {
        "source": _describe_source(file, checkpoint),
        "weights": chosen.describe(),
        "unwrapped": [*chosen.unwrapped],
        "keys": report.as_dict(),
    }
    if pca is not None:
        whitening, source = read_whitening(pca)
        state |= {f"whitening.{key}": value for key, value in whitening.items()}
        record["pca_source"] = _describe_source(pca, source)
    flags = VggishFlags(final_relu=final_relu, pca=pca is not None)
    record = {"kind": str(kind), "flags": asdict(flags), **record}
    return ImportedBackbone(kind=kind, flags=flags, state=state, record=record)


def _describe_source(file: Path, checkpoint: CheckpointContents) -> dict[str, Any]:
    return {"file": file.name, "sha256": checkpoint.sha256, "bytes": checkpoint.file_bytes}
