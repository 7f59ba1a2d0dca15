"""The pandas lines of docs/how-to/submit-clips.md, on results that are not everyday ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service.domain.clip import (
    AnalysisClosed,
    AnalysisOpened,
    Estimate,
    FaceBox,
    Frame,
    FramesDecoded,
    TimelinePoint,
    TrackedFace,
)
from service.domain.options import FaceSelection
from service.results.builder import ESTIMATE_COLUMNS, ResultBuilder
from service.results.formats import CSV
from tests.documents import ROOT, find_code_blocks
from tests.fake_estimators import make_manifest
from tests.unit.results.test_formats import MEDIA

BOX = FaceBox(left=10, top=10, width=100, height=100, score=0.9)
TIMES = (0.0, 0.04, 0.04, 0.02)
PRINTS = "\nprint(len(primary), sorted(smiles.columns), smiles.shape[0])"


def write_result(path: Path, tracks: tuple[int, ...]) -> None:
    """Write a CSV of four frames, two of them at one time, with a face of each track in each."""
    builder = ResultBuilder(make_manifest(), {}, FaceSelection.ALL)
    builder.add(AnalysisOpened(media=MEDIA))
    builder.add(FramesDecoded(times_seconds=TIMES))
    for track in tracks:
        for index, time in enumerate(TIMES):
            face = TrackedFace(track=track, box=BOX)
            frame = Frame(index=index, time_seconds=time, faces=(face,))
            estimate = Estimate(**dict.fromkeys(ESTIMATE_COLUMNS, 0.5))
            builder.add(TimelinePoint(track=track, frame=frame, estimate=estimate))
    primary = tracks[0] if tracks else None
    builder.add(AnalysisClosed(frames=len(TIMES), flags=(), primary=primary))
    path.write_bytes(b"".join(CSV.write(builder.build())))


@pytest.mark.parametrize(
    ("tracks", "printed"), [((), "4 [] 0"), ((3,), "4 [3] 4"), ((3, 8), "4 [3, 8] 4")]
)
def test_the_lines_work_without_a_face_and_with_repeated_times(
    tmp_path: Path, tracks: tuple[int, ...], printed: str
) -> None:
    [lines] = [
        block.text
        for block in find_code_blocks(ROOT / "docs" / "how-to" / "submit-clips.md")
        if "pandas" in block.text
    ]
    write_result(tmp_path / "panel.csv", tracks)
    completed = subprocess.run(
        [sys.executable, "-c", lines + PRINTS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.stdout.strip() == printed, completed.stderr
