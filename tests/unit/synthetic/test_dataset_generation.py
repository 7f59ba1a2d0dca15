"""The `synthesise` command: a data set in Aff-Wild2's layout, and clips with their truth."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from training.synthetic.command import app
from training.synthetic.dataset_spec import DatasetSpec, iter_clip_specs
from training.synthetic.frame_rates import RATES, draw_frame_times
from training.synthetic.performance import Performance
from training.synthetic.recording_writer import write_annotations


def synthesise(out: Path, *options: str) -> int:
    return CliRunner().invoke(app, ["synthesise", "--out", str(out), *options]).exit_code


def hash_files(folder: Path, pattern: str) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob(pattern)
    }


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    assert synthesise(out, "--actors", "3", "--seconds", "6", "--seed", "5") == 0
    return out


def test_every_frame_has_a_row_and_every_visible_frame_a_crop(dataset_root: Path) -> None:
    files = sorted(dataset_root.glob("VA_Estimation_Challenge/*/*.txt"))
    assert [file.parent.name for file in files] == ["Test_Set", "Train_Set", "Validation_Set"]
    for file in files:
        header, *rows = file.read_text().splitlines()
        assert header == "valence,arousal"
        assert len(rows) == len(times_of(dataset_root / "videos" / f"{file.stem}.mp4")) == 150
        performance = Performance.from_seed(int(file.stem.removeprefix("actor")), seconds=6.0)
        visible = performance.is_visible_at(np.arange(150) / 25)
        crops = {
            int(crop.stem) - 1 for crop in dataset_root.glob(f"cropped_aligned/{file.stem}/*.jpg")
        }
        assert crops == set(np.flatnonzero(visible).tolist())
        image = cv2.imread(
            str(dataset_root / "cropped_aligned" / file.stem / f"{min(crops) + 1:05d}.jpg")
        )
        assert image is not None
        assert image.shape == (112, 112, 3)


def test_rows_are_the_truth_or_unannotated(dataset_root: Path) -> None:
    file = next(dataset_root.glob("VA_Estimation_Challenge/Train_Set/*.txt"))
    rows = np.loadtxt(file, delimiter=",", skiprows=1)
    known = rows[:, 0] != -5
    performance = Performance.from_seed(int(file.stem.removeprefix("actor")), seconds=6.0)
    truth = performance.truth_at(np.arange(150) / 25)
    assert rows[known] == pytest.approx(truth[known], abs=1e-5)
    assert (rows[~known] == -5).all()


def test_some_rows_of_a_larger_dataset_are_unannotated(tmp_path: Path) -> None:
    gaps = 0
    for seed in range(6):
        file = tmp_path / f"{seed}.txt"
        write_annotations(file, Performance.from_seed(seed, seconds=60), np.arange(1_500) / 25)
        gaps += file.read_text().count("-5,-5")
    assert 0.003 < gaps / 9_000 < 0.06


def test_same_seed_writes_the_same_bytes(dataset_root: Path, tmp_path: Path) -> None:
    assert synthesise(tmp_path, "--actors", "1", "--seconds", "6", "--seed", "5") == 0
    again, first = (
        hash_files(folder, "*.jpg") | hash_files(folder, "*.txt")
        for folder in (tmp_path, dataset_root)
    )
    assert len(again) > 100
    assert again.items() <= first.items()


def test_only_missing_recordings_are_rendered_again(tmp_path: Path) -> None:
    options = ("--seconds", "1", "--seed", "5", "--workers", "1")
    assert synthesise(tmp_path, "--actors", "2", *options) == 0
    existing, missing = sorted(tmp_path.glob("VA_Estimation_Challenge/*/*.txt"))
    before, content = existing.stat().st_mtime_ns, missing.read_bytes()
    missing.unlink()
    assert synthesise(tmp_path, "--actors", "2", *options) == 0
    assert existing.stat().st_mtime_ns == before
    assert missing.read_bytes() == content


def test_another_dataset_spec_is_not_mixed_into_a_folder(dataset_root: Path) -> None:
    assert synthesise(dataset_root, "--actors", "3", "--seconds", "6", "--seed", "6") == 1


def test_unknown_rate_is_refused(tmp_path: Path) -> None:
    assert synthesise(tmp_path, "--rate", "23") == 2


def test_clips_have_their_frames_times_and_truth(tmp_path: Path) -> None:
    assert synthesise(tmp_path, "--clips", "--actors", "1", "--seconds", "1") == 0
    clips = sorted(tmp_path.glob("*.mp4"))
    assert [clip.stem.partition("-")[2] for clip in clips] == sorted(RATES)
    for clip in clips:
        times, *truth = np.loadtxt(clip.with_suffix(".csv"), delimiter=",", skiprows=1).T
        assert times_of(clip) == pytest.approx(times.tolist(), abs=1e-4)
        expected = Performance.from_seed(0, seconds=1.0).truth_at(times)
        assert np.stack(truth, axis=1) == pytest.approx(expected, abs=1e-4)
        with av.open(str(clip)) as container:
            assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]


def test_variable_rate_varies_and_stalls() -> None:
    times = draw_frame_times("variable", 20.0, seed=0)
    steps = [float(later - earlier) for earlier, later in pairwise(times)]
    assert 0.015 < min(steps) < 0.02
    assert 0.1 < max(steps) <= 0.25
    assert times[-1] < 20


def test_split_sizes_are_official_and_subject_disjoint() -> None:
    spec = DatasetSpec(seed=1, seconds=1, rates=("25",), clips=False, as_served=False)
    clips = list(iter_clip_specs(spec, 150))
    splits = [clip.split_folder for clip in clips]
    counts = [splits.count(split) for split in ("Train_Set", "Validation_Set", "Test_Set")]
    assert counts == [90, 20, 40]
    assert len({clip.actor for clip in clips}) == 150
    other = DatasetSpec(seed=2, seconds=1, rates=("25",), clips=False, as_served=False)
    assert not {clip.actor for clip in clips} & {clip.actor for clip in iter_clip_specs(other, 150)}


def test_every_split_has_every_frame_rate() -> None:
    rates = ("24", "25", "30", "60", "variable")
    spec = DatasetSpec(seed=0, seconds=1, rates=rates, clips=False, as_served=False)
    pairs = {(clip.split_folder, clip.rate) for clip in iter_clip_specs(spec, 75)}
    assert len(pairs) == 3 * len(rates)


def test_synthesising_needs_no_torch() -> None:
    check = "import sys, training.synthetic.command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
