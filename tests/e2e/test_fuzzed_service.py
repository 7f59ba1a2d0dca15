"""Damaged clips through the whole service: each job ends in a result or a typed problem."""

from __future__ import annotations

from pathlib import Path

from service.domain.options import AnalysisOptions
from service.embedded.stack import Stack
from tests.fuzz.in_process_pipeline import Verdict
from tests.fuzz.inputs import make_input
from tests.fuzz.seeds import make_seeds
from tests.fuzz.service_client import CheckedServiceClient

INPUT_COUNT = 12


def test_damaged_clips_end_in_a_result_or_a_typed_problem(stack: Stack, tmp_path: Path) -> None:
    seeds, clip = make_seeds(), tmp_path / "clip"
    with CheckedServiceClient.connect(stack, hang_seconds=120) as service:
        for number in range(INPUT_COUNT):
            fuzz_input = make_input(seeds, 3, number)
            clip.write_bytes(fuzz_input.data)
            outcome = service.try_clip(clip, fuzz_input.options)
            assert outcome.verdict is Verdict.FINE, (fuzz_input.name, outcome)
        assert len(service.jobs) == INPUT_COUNT
        clip.write_bytes(seeds[0].data)
        assert service.try_clip(clip, AnalysisOptions()).code == "succeeded"
    assert stack.find_ended_parts() == []
