"""Peers of the benchmark: the FastAPI one, in this environment, does the service's work."""

import sys
from pathlib import Path

import pytest
from circumplex_client import Client

from bench.peers.environments import collect_model_files, make_peer_environment
from bench.peers.load import run_load
from bench.peers.report import compare_estimates
from bench.peers.systems import PeerEstimates, run_system
from service.embedded.stack import Stack


def test_peer_agrees_with_the_service(
    stack: Stack, client: Client, talking_clip: Path, tmp_path: Path
) -> None:
    result = client.result(client.wait(client.submit(talking_clip).id).id)
    service = PeerEstimates.from_columns(
        {"time": result.time, "valence": result.valence, "arousal": result.arousal}
    )
    files = tmp_path / "files"
    collect_model_files(files, stack.settings)
    environment = make_peer_environment("fastapi", Path(sys.executable), files, tmp_path)
    with run_system("fastapi", environment, stack.settings) as system:
        peer = system.annotate(talking_clip)
        cost = run_load(system, [talking_clip] * 2, at_once=2)
    assert service.times_seconds == pytest.approx(peer.times_seconds)
    agreement = compare_estimates({"circumplex": service, "fastapi": peer})["fastapi"]
    assert agreement["frames"] == len(service.times_seconds)
    # other colour conversion, other face tracking: crops differ by a few grey levels
    assert agreement["mean_difference"] < 0.02
    assert agreement["correlation"] > 0.98
    assert cost.frames == 2 * len(service.times_seconds)
    assert len(cost.latencies_seconds) == 2
    assert cost.cpu_seconds > 0
    assert cost.peak_mib > 100  # torch in two processes
