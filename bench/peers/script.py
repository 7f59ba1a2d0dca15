"""Plain script: annotates the clips whose paths come in on standard input, one after the other.

python -m bench.peers.script < paths.txt
"""

from __future__ import annotations

import json
import sys

from bench.peers.pipeline import PeerPipeline


def main() -> None:
    """Write a line of JSON for each clip; the first line is for the loaded models."""
    pipeline = PeerPipeline.from_environment()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(pipeline.annotate(line.rstrip("\n")).to_dict()), flush=True)


if __name__ == "__main__":
    main()
