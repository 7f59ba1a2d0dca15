"""Ray Serve on this machine alone: `python -m bench.peers.ray.server PORT`."""

from __future__ import annotations

import signal
import sys
from typing import Final

import ray
from ray import serve

from bench.peers.ray.deployment import WORKERS, ClipDeployment

OBJECT_STORE_BYTES: Final = 256 * 2**20


def main(port: int) -> None:
    """Serve until a signal."""
    ray.init(include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, num_cpus=WORKERS)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(ClipDeployment.bind())
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(int(sys.argv[1]))
