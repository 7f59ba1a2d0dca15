"""One input through what a worker does with a clip: decode child, analysis, result, writers.

All of it is the product's own, but for the networks: they answer with zeros here, so that a
hundred thousand inputs need no Triton. A share of the inputs meets the real one (`stack.py`).
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
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from service.domain.array_types import BoolArray, Float32Array, Int64Array, UInt8Array
from service.domain.model_signatures import FACE_FEATURES, TARGETS, VOICE_FEATURES
from service.domain.options import AnalysisOptions
from service.domain.ports import ClipExtractor
from service.errors import ClipError, DecoderCrashed, DecoderKilled
from service.pipeline.clip_analysis import analyse
from service.pipeline.estimation import EstimationParameters
from service.results.builder import ResultBuilder
from service.results.columns import AnalysisResult
from service.results.formats import FORMATS
from service.telemetry.metrics import Metrics


class Verdict(StrEnum):
    """What an outcome says of the service."""

    FINE = "fine"
    """A whole result, or a typed error of the clip."""
    CRASH = "crash"
    """The decoder died by a signal of its own: typed, and its job's alone."""
    DEFECT = "defect"
    """Anything else: an untyped error, a fault of ours in the child, a broken result."""
    DEATH = "death"
    """The process that clips are decoded in was lost."""
    HANG = "hang"
    """Nothing came of it in time, not even the error that a time limit stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one input ended. code: `succeeded`, or the error's code or type."""

    code: str
    verdict: Verdict = Verdict.FINE
    detail: str = ""
    rows: int = 0
    seconds: float = 0.0


class InvalidResult(Exception):
    """A result that a client could not use."""


class InProcessPipeline:
    """Feeds inputs to the worker's own path, any number at a time."""

    def __init__(self, extractor: ClipExtractor, *, hang_seconds: float) -> None:
        self._hang_seconds = hang_seconds
        self._analyse = partial(
            analyse,
            extractor=extractor,
            inference=ZeroInference(),
            parameters=EstimationParameters(),
            metrics=Metrics(CollectorRegistry()),
        )

    async def try_clip(self, clip: Path, choices: AnalysisOptions) -> Outcome:
        """The outcome, whatever it is."""
        began = time.monotonic()
        code, verdict, detail, rows = await self._run_clip(clip, choices)
        seconds = time.monotonic() - began
        return Outcome(code=code, verdict=verdict, detail=detail, rows=rows, seconds=seconds)

    async def _run_clip(
        self, clip: Path, choices: AnalysisOptions
    ) -> tuple[str, Verdict, str, int]:
        patience = asyncio.timeout(self._hang_seconds)
        try:
            async with patience:
                rows = check_result(await self._annotate(clip, choices))
        except ClipError as error:
            return error.code, classify_error(error), error.detail, 0
        except DecoderKilled as error:
            return error.code, Verdict.DEATH, error.detail, 0
        except Exception as error:
            if isinstance(error, TimeoutError) and patience.expired():
                return "hang", Verdict.HANG, f"no outcome in {self._hang_seconds:.0f} s", 0
            return type(error).__name__, Verdict.DEFECT, repr(error)[:500], 0
        return "succeeded", Verdict.FINE, "", rows

    async def _annotate(self, clip: Path, choices: AnalysisOptions) -> AnalysisResult:
        builder = ResultBuilder({}, choices.faces)
        async with aclosing(self._analyse(clip, choices)) as events:
            async for event in events:
                builder.add(event)
        return builder.build()


def classify_error(error: ClipError) -> Verdict:
    """Whether a typed error is the clip's fault, the decoder's, or hides a defect of ours."""
    if not isinstance(error, DecoderCrashed):
        return Verdict.FINE
    return Verdict.CRASH if "ended by SIG" in error.detail else Verdict.DEFECT


def check_result(result: AnalysisResult) -> int:
    """Write a result in every format and read its JSON; returns its rows.

    Raises: ResultBroken.
    """
    written = {name: b"".join(each.write(result)) for name, each in FORMATS.items()}
    check_document(json.loads(written["json"], parse_constant=_reject_constant))
    return len(result.frames)


def check_document(document: Mapping[str, Any]) -> int:
    """The clip's columns, and each track's that has its own; returns the rows.

    Raises: ResultBroken.
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
    """Columns of one length, and a finite time in every row; returns the rows."""
    rows = len(frames["index"])
    columns = [each for each in frames.values() if isinstance(each, list)]
    if any(len(column) != rows for column in columns) or not rows:
        raise InvalidResult("columns of different lengths, or none")
    if any(time is None or not math.isfinite(time) for time in frames["time"]):
        raise InvalidResult("a row without a time")
    return rows


def _reject_constant(constant: str) -> float:
    raise InvalidResult(f"{constant} is no JSON")


class ZeroInference:
    """Networks that have nothing to say: a domain.ports.Inference."""

    async def embed_faces(self, crops: UInt8Array) -> Float32Array:
        return np.zeros((len(crops), FACE_FEATURES), np.float32)

    async def embed_voice(self, waveform: Float32Array, patch_starts: Int64Array) -> Float32Array:
        return np.zeros((len(patch_starts), VOICE_FEATURES), np.float32)

    async def fuse(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        nothing = np.zeros((len(mask), len(TARGETS)), np.float32)
        return nothing, nothing

    async def fuse_live(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        return await self.fuse(visual, audio, mask)

    async def is_ready(self) -> bool:
        return True
