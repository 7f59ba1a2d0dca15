"""BentoML with a worker for each core: `bentoml serve bench.peers.bentoml.server:ClipService`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml

from bench.peers.pipeline import PeerPipeline


@bentoml.service(
    workers=int(os.environ.get("PEER_WORKERS", "0")) or "cpu_count",
    traffic={"timeout": 3600},
)
class ClipService:
    """Annotates a clip at a time in each worker: a synchronous method has one thread."""

    def __init__(self) -> None:
        self.pipeline = PeerPipeline.from_environment()

    @bentoml.api(route="/annotate")
    def annotate(self, clip: Path) -> dict[str, Any]:
        """Annotate an uploaded clip."""
        return self.pipeline.annotate(clip).to_dict()
