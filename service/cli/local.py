"""The offline door: one clip to files, through the same analysis as a job."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

from service.domain.options import AnalysisOptions
from service.domain.timeline import AnalysisProgress
from service.errors import ResultFormatUnknown
from service.pipeline.provenance import read_provenance
from service.results.builder import ResultBuilder
from service.results.columns import AnalysisResult
from service.results.formats import JSON, find_format
from service.results.plot import PLOT_SUFFIXES, plot_result
from service.settings import Settings
from service.wiring import ClipAnalyzer


async def annotate(
    clip: Path,
    choices: AnalysisOptions,
    *,
    analyzer: ClipAnalyzer,
    settings: Settings,
    on_progress: Callable[[AnalysisProgress], None],
) -> AnalysisResult:
    """Analyse a clip here and now.

    Raises: ClipError for the clip, ServiceError for a part of the service.
    """
    builder = ResultBuilder(read_provenance(settings), choices.faces)
    async with aclosing(analyzer.analyse(clip, choices)) as events:
        async for event in events:
            if isinstance(event, AnalysisProgress):
                on_progress(event)
            builder.add(event)
    return builder.build()


def write_result(result: AnalysisResult, path: Path) -> None:
    """Write a result in the format that its file name asks for; raises ResultFormatUnknown."""
    result_format = find_format(path.suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(result_format.write(result))


def check_plot_suffix(path: Path | None) -> None:
    """Raises ResultFormatUnknown where no plot could be written to a file of this name."""
    if path is not None and path.suffix.lower() not in PLOT_SUFFIXES:
        offered = ", ".join(PLOT_SUFFIXES)
        raise ResultFormatUnknown(f"plots are drawn as {offered}, not as {path.suffix!r}")


def write_plot(result: AnalysisResult, path: Path) -> None:
    """Draw a result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plot_result(json.loads(b"".join(JSON.write(result))), path)
