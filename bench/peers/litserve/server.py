"""LitServe with a worker for each core: `python -m bench.peers.litserve.server PORT`.

LitServe reads the annotations of `decode_request`, so they are not postponed.
"""

import os
import sys
from tempfile import NamedTemporaryFile
from typing import Any

import litserve
from fastapi import Request

from bench.peers.pipeline import PeerPipeline


class ClipAPI(litserve.LitAPI):
    """Annotates a clip at a time: a clip is a batch of crops already."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe passes it by name or place
        """Load the models of a worker."""
        self.pipeline = PeerPipeline.from_environment()

    def decode_request(self, request: Request) -> bytes:
        """Take the uploaded file out of the form."""
        return request["clip"].file.read()

    def predict(self, clip: bytes) -> dict[str, Any]:
        """Annotate the clip."""
        with NamedTemporaryFile(suffix=".mp4") as file:
            file.write(clip)
            file.flush()
            return self.pipeline.annotate(file.name).to_dict()

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return the columns, which LitServe sends as JSON."""
        return output


def main(port: int) -> None:
    """Serve until a signal."""
    workers = int(os.environ.get("PEER_WORKERS", "0")) or len(os.sched_getaffinity(0))
    server = litserve.LitServer(
        ClipAPI(api_path="/annotate"), accelerator="cpu", workers_per_device=workers, timeout=False
    )
    server.run(host="127.0.0.1", port=port, generate_client_file=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
