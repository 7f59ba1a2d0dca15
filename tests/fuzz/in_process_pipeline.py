"""In-process pipeline: one input through decode process, analysis, result and result formats.

All of it is the worker's own code, except for the networks, which return zeros, so that no Triton
is needed. A share of the inputs goes through the whole service (`service_client`).
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, cast

from prometheus_client import CollectorRegistry

from service.domain.options import AnalysisOptions
from service.domain.ports import ClipExtractor
from service.errors import ClipError, DecoderCrashed, DecoderKilled
from service.pipeline.clip_analysis import analyse
from service.results.builder import AnalysisResult, ResultBuilder
from service.results.formats import FORMATS
from service.telemetry.metrics import Metrics
from tests.fake_estimators import make_served_estimator


class Verdict(StrEnum):
    """Judgement of an outcome."""

    FINE = "fine"
    """A valid result, or a typed error of the clip."""
    CRASH = "crash"
    """The decode process crashed by a signal; the error is typed and affects only its own job."""
    DEFECT = "defect"
    """An untyped error, an exception in the decode process, or an invalid result."""
    DEATH = "death"
    """The forkserver of the decode processes was lost."""
    HANG = "hang"
    """No outcome in time, not even the error of a time limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Outcome of one input. code: `succeeded`, or the error's code or type."""

    code: str
    verdict: Verdict = Verdict.FINE
    detail: str = ""
    rows: int = 0
    seconds: float = 0.0


class InvalidResult(Exception):
    """A result that clients could not use."""


class InProcessPipeline:
    """Runs inputs through the worker's pipeline, any number concurrently."""

    def __init__(self, extractor: ClipExtractor, *, hang_seconds: float) -> None:
        self._hang_seconds = hang_seconds
        self._estimator = make_served_estimator()
        self._analyse = partial(
            analyse,
            extractor=extractor,
            estimator=self._estimator,
            metrics=Metrics(CollectorRegistry()),
        )

    async def try_clip(self, clip: Path, options: AnalysisOptions) -> Outcome:
        """Analyse a clip and return its outcome; never raises."""
        began = time.monotonic()
        code, verdict, detail, rows = await self._run_clip(clip, options)
        seconds = time.monotonic() - began
        return Outcome(code=code, verdict=verdict, detail=detail, rows=rows, seconds=seconds)

    async def _run_clip(
        self, clip: Path, options: AnalysisOptions
    ) -> tuple[str, Verdict, str, int]:
        timeout = asyncio.timeout(self._hang_seconds)
        try:
            async with timeout:
                rows = check_result(await self._annotate(clip, options))
        except ClipError as error:
            return error.code, classify_error(error), error.detail, 0
        except DecoderKilled as error:
            return error.code, Verdict.DEATH, error.detail, 0
        except Exception as error:
            if isinstance(error, TimeoutError) and timeout.expired():
                return "hang", Verdict.HANG, f"no outcome in {self._hang_seconds:.0f} s", 0
            return type(error).__name__, Verdict.DEFECT, repr(error)[:500], 0
        return "succeeded", Verdict.FINE, "", rows

    async def _annotate(self, clip: Path, options: AnalysisOptions) -> AnalysisResult:
        builder = ResultBuilder(self._estimator.manifest, self._estimator.provenance, options.faces)
        async with aclosing(self._analyse(clip, options)) as events:
            async for event in events:
                builder.add(event)
        return builder.build()


def classify_error(error: ClipError) -> Verdict:
    """Classify a typed error: FINE for a bad clip, CRASH for a signal, DEFECT for another exit."""
    if not isinstance(error, DecoderCrashed):
        return Verdict.FINE
    return Verdict.CRASH if "ended by SIG" in error.detail else Verdict.DEFECT


def check_result(result: AnalysisResult) -> int:
    """Write a result in every format and check its JSON; returns the number of rows.

    Raises: InvalidResult.
    """
    written = {name: b"".join(each.write(result)) for name, each in FORMATS.items()}
    check_document(json.loads(written["json"], parse_constant=_reject_constant))
    return len(result.frames)


def check_document(document: Mapping[str, Any]) -> int:
    """Check the columns of a JSON result, and those of its tracks; returns the number of rows.

    Raises: InvalidResult.
    """
    frames = document["frames"]
    rows = _check_columns(frames)
    if frames["index"] != list(range(rows)):
        raise InvalidResult("ordinals are not 0, 1, 2 ...")
    for track in document["tracks"]:
        if "frames" in track:
            _check_columns(track["frames"])
    return rows


def _check_columns(frames: Mapping[str, Any]) -> int:
    """Check for columns of one length, and finite times; returns the number of rows."""
    rows = len(frames["index"])
    columns = [cast(list[Any], each) for each in frames.values() if isinstance(each, list)]
    if any(len(column) != rows for column in columns) or not rows:
        raise InvalidResult("columns of different lengths, or none")
    if any(time is None or not math.isfinite(time) for time in frames["time"]):
        raise InvalidResult("a row without a time")
    return rows


def _reject_constant(constant: str) -> float:
    raise InvalidResult(f"{constant} is not valid JSON")
