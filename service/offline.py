"""The offline door: one clip to files, through the same analysis as a job."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

from service.domain.choices import Choices
from service.domain.timeline import FramesSeen
from service.errors import ResultFormatUnknown
from service.provenance import read_provenance
from service.results.builder import ResultBuilder
from service.results.columns import Result
from service.results.formats import JSON, format_named
from service.results.plot import PLOT_SUFFIXES, plot_result
from service.settings import Settings
from service.wiring import Analyst


async def annotate(
    clip: Path,
    choices: Choices,
    *,
    analyst: Analyst,
    settings: Settings,
    on_progress: Callable[[FramesSeen], None],
) -> Result:
    """Analyse a clip here and now.

    Raises: ClipError for the clip, ServiceError for a part of the service.
    """
    builder = ResultBuilder(read_provenance(settings), choices.faces)
    async with aclosing(analyst.analyse(clip, choices)) as events:
        async for event in events:
            if isinstance(event, FramesSeen):
                on_progress(event)
            builder.add(event)
    return builder.build()


def write(result: Result, path: Path) -> None:
    """Write a result in the format that its file name asks for; raises ResultFormatUnknown."""
    result_format = format_named(path.suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(result_format.write(result))


def check_plot(path: Path | None) -> None:
    """Raises ResultFormatUnknown where no plot could be written to a file of this name."""
    if path is not None and path.suffix.lower() not in PLOT_SUFFIXES:
        offered = ", ".join(PLOT_SUFFIXES)
        raise ResultFormatUnknown(f"plots are drawn as {offered}, not as {path.suffix!r}")


def plot(result: Result, path: Path) -> None:
    """Draw a result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plot_result(json.loads(b"".join(JSON.write(result))), path)
