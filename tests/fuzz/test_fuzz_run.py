"""Fuzz run: a short one, and the detection of failures and leaks."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from service.decoding.extractor import open_clip_extractor
from service.domain.clip import ExtractionEvent
from service.domain.options import AnalysisOptions
from service.errors import ClipTruncated, DecoderCrashed, DecoderKilled, DecoderOutOfMemory
from service.settings import Settings
from tests.fuzz.in_process_pipeline import (
    InProcessPipeline,
    InvalidResult,
    Outcome,
    Verdict,
    check_document,
)
from tests.fuzz.inputs import make_input
from tests.fuzz.leaks import (
    HANDLE_TOLERANCE,
    find_leaked_shared_memory,
    find_stray_files,
    list_shared_memory,
    snapshot_resources,
)
from tests.fuzz.report import VIOLATIONS, FuzzFindings, has_passed
from tests.fuzz.run import FUZZ_SETTINGS, FuzzPlan, FuzzRun
from tests.fuzz.seeds import Seed

INPUT_COUNT = 200


async def test_damaged_clips_end_in_a_result_or_a_typed_error_without_leaks(
    seeds: tuple[Seed, ...], tmp_path: Path
) -> None:
    scratch = tmp_path / "inputs"
    scratch.mkdir()
    plan = FuzzPlan(seeds=seeds, run_seed=4, inputs=INPUT_COUNT, service_every=0, at_once=3)
    run = FuzzRun(plan, Settings(**FUZZ_SETTINGS), FuzzFindings(folder=tmp_path), scratch=scratch)
    summary = await run.run()
    assert summary["inputs"] == INPUT_COUNT
    assert {name: summary[name] for name in VIOLATIONS} == dict.fromkeys(VIOLATIONS, 0), summary
    assert has_passed(summary)
    assert summary["outcomes"]["succeeded"] > INPUT_COUNT / 5
    assert summary["outcomes"]["clip_not_media"] > INPUT_COUNT / 20


async def test_every_seed_is_intact(seeds: tuple[Seed, ...], tmp_path: Path) -> None:
    async with open_clip_extractor(Settings(**FUZZ_SETTINGS)) as extractor:
        pipeline = InProcessPipeline(extractor, hang_seconds=60)
        for seed in seeds:
            clip = tmp_path / seed.name
            clip.write_bytes(seed.data)
            outcome = await pipeline.try_clip(clip, AnalysisOptions())
            expected = "clip_without_video" if seed.name.startswith("sound") else "succeeded"
            assert (seed.name, outcome.code) == (seed.name, expected)


class FailingClipExtractor:
    """An extractor that raises an error, or hangs."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    @asynccontextmanager
    async def __call__(
        self, clip: Path, options: AnalysisOptions
    ) -> AsyncGenerator[AsyncIterator[ExtractionEvent]]:
        if self._error is None:
            await asyncio.Event().wait()
        else:
            raise self._error
        yield _no_extracts()


async def _no_extracts() -> AsyncIterator[ExtractionEvent]:
    return
    yield


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ClipTruncated(), Verdict.FINE),
        (DecoderOutOfMemory(), Verdict.FINE),
        (DecoderCrashed("The decoder process was ended by SIGSEGV"), Verdict.CRASH),
        (DecoderCrashed("The decoder process ended with status 1"), Verdict.DEFECT),
        (ZeroDivisionError(), Verdict.DEFECT),
        (TimeoutError(), Verdict.DEFECT),
        (DecoderKilled(), Verdict.DEATH),
        (None, Verdict.HANG),
    ],
)
async def test_outcome_verdict_classifies_the_error(
    error: Exception | None, verdict: Verdict
) -> None:
    outcome = await InProcessPipeline(FailingClipExtractor(error), hang_seconds=0.2).try_clip(
        Path("clip"), AnalysisOptions()
    )
    assert outcome.verdict is verdict


@pytest.mark.parametrize("verdict", [Verdict.DEATH, Verdict.HANG, Verdict.DEFECT, Verdict.CRASH])
def test_suspicious_input_is_saved_and_only_a_typed_crash_passes(
    seeds: tuple[Seed, ...], tmp_path: Path, verdict: Verdict
) -> None:
    findings = FuzzFindings(folder=tmp_path)
    fuzz_input = make_input(seeds, 1, 1)
    findings.add(fuzz_input, Outcome(code="some_code", verdict=verdict), None)
    assert has_passed(findings.summary()) is (verdict is Verdict.CRASH)
    assert (tmp_path / fuzz_input.name).read_bytes() == fuzz_input.data
    assert [saved["name"] for saved in findings.summary()["kept"]] == [fuzz_input.name]


@pytest.mark.parametrize(
    "frames",
    [
        {"index": [0, 1], "time": [0.0, 0.04], "valence": [0.1]},
        {"index": [0, 2], "time": [0.0, 0.04]},
        {"index": [0, 1], "time": [0.0, None]},
        {"index": [], "time": []},
    ],
)
def test_invalid_result_is_detected(frames: dict[str, list[float]]) -> None:
    with pytest.raises(InvalidResult):
        check_document({"frames": frames, "tracks": []})
    valid = {"index": [0], "time": [0.0]}
    assert check_document({"frames": valid, "tracks": [{"frames": valid}]}) == 1
    with pytest.raises(InvalidResult):
        check_document({"frames": valid, "tracks": [{"frames": frames | {"index": [0]}}]})


def test_remaining_processes_and_handles_are_leaks() -> None:
    before = snapshot_resources(list)
    assert not snapshot_resources(list).find_leaks_since(before)
    with ExitStack() as handles:
        for _ in range(2 * HANDLE_TOLERANCE):
            handles.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        (leak,) = snapshot_resources(list).find_leaks_since(before)
        assert leak.startswith(f"handles of {os.getpid()}")
    with subprocess.Popen(["sleep", "60"]) as process:
        (leak,) = snapshot_resources(list).find_leaks_since(before)
        assert leak.startswith("processes")
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert "zombies: 1" in snapshot_resources(list).find_leaks_since(before)
    assert not snapshot_resources(list).find_leaks_since(before)


def test_files_without_a_job_are_reported_as_strays(tmp_path: Path) -> None:
    for name in (
        "clips/one",
        "clips/two",
        "clips/one#1",
        "results/one/1.json",
        "results/two/1.json",
        "pair",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert sorted(find_stray_files(tmp_path, {"one"})) == [
        "clips/one#1",
        "clips/two",
        "results/two/1.json",
    ]
    snapshot = replace(snapshot_resources(list), strays=("clips/two",))
    assert snapshot.find_leaks_since(snapshot_resources(list)) == ["stray: clips/two"]


def test_shared_memory_is_listed() -> None:
    name = f"circumplex-fuzz-test-{os.getpid()}"
    path = Path("/dev/shm", name)
    before = list_shared_memory()
    path.write_bytes(b"x")
    try:
        assert f"shared memory: {name}" in find_leaked_shared_memory(before)
    finally:
        path.unlink()
    assert f"shared memory: {name}" not in find_leaked_shared_memory(before)
