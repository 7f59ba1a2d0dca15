"""The `contact-sheet` command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from service.errors import CircumplexError
from training.inspection.errors import InspectionError, ResultUnreadable


def contact_sheet_command(
    clip: Annotated[Path, typer.Argument(help="The video.", exists=True, dir_okay=False)],
    result: Annotated[
        Path, typer.Argument(help="Its result, a .json of the service.", exists=True)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png, .svg or .pdf.")] = Path(
        "sheet.png"
    ),
    frames: Annotated[int, typer.Option(min=1, max=400, help="Frames, evenly chosen.")] = 24,
) -> None:
    """Draw frames of a clip with a result's numbers on them, to look at what a model says."""
    from training.inspection.contact_sheet import draw_contact_sheet  # matplotlib takes a while

    try:
        draw_contact_sheet(clip, _read_result(result), output, frames=frames)
    except (CircumplexError, InspectionError, OSError) as error:
        Console(stderr=True).print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error


def _read_result(file: Path) -> dict[str, object]:
    try:
        document = json.loads(file.read_bytes())
    except ValueError as error:
        raise ResultUnreadable(f"{file} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ResultUnreadable(f"{file} is no JSON object")
    return cast("dict[str, object]", document)
