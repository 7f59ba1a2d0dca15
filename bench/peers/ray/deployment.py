"""Deployment on Ray Serve: a replica for each core.

The class reaches the replicas pickled, where FastAPI cannot resolve postponed annotations.
"""

import os
import shutil
from tempfile import NamedTemporaryFile
from typing import Annotated, Final

from fastapi import FastAPI, File, UploadFile
from fastapi.responses import JSONResponse
from ray import serve

from bench.peers.pipeline import PeerPipeline

WORKERS: Final = int(os.environ.get("PEER_WORKERS", "0")) or len(os.sched_getaffinity(0))

app = FastAPI()


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=1, ray_actor_options={"num_cpus": 1})
@serve.ingress(app)
class ClipDeployment:
    """Annotates a clip at a time in each replica."""

    def __init__(self) -> None:
        self.pipeline = PeerPipeline.from_environment()

    @app.post("/annotate")
    def annotate(self, clip: Annotated[UploadFile, File()]) -> JSONResponse:
        """Annotate an uploaded clip."""
        with NamedTemporaryFile(suffix=".mp4") as file:
            shutil.copyfileobj(clip.file, file)
            file.flush()
            return JSONResponse(self.pipeline.annotate(file.name).to_dict())
