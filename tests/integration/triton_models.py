"""Models of one estimator on a real Triton."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from service.domain.estimator import EstimatorId
from service.pipeline.estimators import read_default_manifest
from service.settings import YARDSTICK, Settings
from service.telemetry.metrics import Metrics
from service.triton.client import TritonInference, connect_triton

MINI = EstimatorId(YARDSTICK, 1)


@asynccontextmanager
async def open_inference(settings: Settings, metrics: Metrics) -> AsyncGenerator[TritonInference]:
    """Connect to Triton, and select the models of the settings' default estimator."""
    async with connect_triton(settings, metrics) as triton:
        yield triton.select(read_default_manifest(settings))
