"""The `import-backbone` command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.importers.backbone import write_backbone
from training.importers.errors import ImportRefused, LayoutMismatch
from training.importers.import_backbone import import_backbone
from training.importers.layouts import BackboneKind


def import_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="The public file: .pth, .pt, .safetensors or .onnx; a folder for expression."
        ),
    ],
    kind: Annotated[BackboneKind, typer.Option(help="Kind of the public weights.")],
    out: Annotated[Path, typer.Option(help="Folder for the imported file and its record.")] = Path(
        "out/backbones"
    ),
    final_relu: Annotated[bool, typer.Option(help="End VGGish with a ReLU.")] = False,
    pca: Annotated[Path | None, typer.Option(help="VGGish's PCA file: end with it.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="One of several sets of weights in the file, by its name.")
    ] = None,
    report: Annotated[bool, typer.Option(help="Print the record as JSON; write nothing.")] = False,
) -> None:
    """Import public pre-trained weights into this project's format."""
    if kind is not BackboneKind.VGGISH and (final_relu or pca is not None):
        raise typer.BadParameter("--final-relu and --pca are for --kind vggish.")
    console, errors = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    try:
        backbone = import_backbone(kind, file, final_relu=final_relu, pca=pca, weights=weights)
    except ImportRefused as error:
        if report:
            key_report = error.report if isinstance(error, LayoutMismatch) else {}
            refusal = {"refused": type(error).__name__, "detail": str(error), "keys": key_report}
            console.print_json(json.dumps(refusal))
        else:
            errors.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    if report:
        console.print_json(json.dumps(backbone.record))
        return
    chosen = backbone.record["weights"]
    averaged = ", a moving average" if chosen["averaged"] else ""
    console.print(f"weights: {chosen['name']}{averaged}", markup=False, highlight=False)
    _print_key_report(console, backbone.record["keys"])
    console.print(f"{write_backbone(backbone, out)}: {kind}", markup=False, highlight=False)


def _print_key_report(console: Console, keys: dict[str, int | list[str]]) -> None:
    """Print the number of matched keys, and each unmatched key."""
    for name, entry in keys.items():
        if isinstance(entry, int):
            console.print(f"{name}: {entry} keys", highlight=False)
        for key in entry if isinstance(entry, list) else []:
            console.print(f"{name}: {key}", markup=False, highlight=False)
