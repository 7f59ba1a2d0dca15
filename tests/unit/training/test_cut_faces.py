"""Cutting of crops: the service's own, in training's layout, one video at a time."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from service.decoding.extractor import open_clip_extractor
from service.domain.array_types import UInt8Array
from service.domain.clip import Chunk, FaceBox, Frame, TrackedFace
from service.domain.options import AnalysisOptions
from service.settings import Settings
from training.cli import app
from training.cutting.cut_run import LOCK_FILE, CutProgress, CutReport, cut_videos, plan_cut
from training.cutting.track_selection import FaceTable
from training.data.crops import list_crops, read_crop
from training.data.errors import CropsFolderBusy, LayoutAmbiguous, LayoutNotFound, VideoNotFound
from training.synthetic.clip import render_demo_clip

FRAMES = 25
SETTINGS = Settings()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("clips") / "7-25-320x240.mp4"
    render_demo_clip(file, seconds=1.0, height=240, width=320)
    return file


@pytest.fixture
def videos(tmp_path: Path, clip: Path) -> Path:
    """A folder with a clip, its copy under another name, one that is broken, and a sidecar."""
    folder = tmp_path / "batch1"
    folder.mkdir()
    shutil.copy(clip, folder)
    shutil.copy(clip, folder / "video5.MP4")
    (folder / "video6.mp4").write_bytes(b"no video")
    (folder / "._video5.mp4").write_bytes(b"\0\5\x16\7")
    return folder


def cut(videos: Path, out: Path, annotations: Path | None = None) -> CutReport:
    tasks, missing = plan_cut([videos], annotations, SETTINGS)

    def ignore(*_: object) -> None:
        pass

    progress = CutProgress(start=ignore, count_frames=ignore, finish_video=ignore)
    report = asyncio.run(cut_videos(tasks, out, SETTINGS, workers=2, progress=progress))
    report.failures |= missing
    return report


async def extract_crops(clip: Path) -> UInt8Array:
    """Extract the crops of a clip as a job does, (N, 3, 112, 112)."""
    async with (
        open_clip_extractor(SETTINGS) as extractor,
        extractor(clip, AnalysisOptions()) as events,
    ):
        return np.concatenate([event.crops async for event in events if isinstance(event, Chunk)])


def test_cut_crops_are_the_service_s_pixel_for_pixel(
    tmp_path: Path, videos: Path, clip: Path
) -> None:
    out = tmp_path / "crops"
    report = cut(videos, out)
    assert set(report.cut) == {"7-25-320x240.mp4", "video5.MP4"}
    assert list(report.failures) == ["video6.mp4"]
    assert report.failures["video6.mp4"].startswith("ClipNotMedia")
    served = asyncio.run(extract_crops(clip))
    assert len(served) == FRAMES
    names, surplus = list_crops(out / "7-25-320x240", FRAMES)
    assert surplus == 0
    read = [read_crop(out / "7-25-320x240" / name.decode()) for name in names]
    np.testing.assert_array_equal(served.transpose(0, 2, 3, 1), np.stack(read))
    assert not list(out.glob(".cutting-*"))


def test_an_interrupted_run_continues(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "crops"
    whole = cut(videos, out)
    # as after kill -9: one video in part, another whole
    shutil.rmtree(out / "video5")
    (out / ".cutting-video5" / "tracks" / "1").mkdir(parents=True)
    (out / ".cutting-video5" / "tracks" / "1" / "00001.png").write_bytes(b"half")
    resumed = cut(videos, out)
    assert resumed.skipped == ["7-25-320x240.mp4"]
    assert resumed.cut["video5.MP4"] == whole.cut["video5.MP4"]
    assert len(list((out / "video5").glob("*.png"))) == FRAMES
    assert not (out / ".cutting-video5").exists()
    assert cut(videos, out).cut == {}


def test_another_video_under_the_same_name_is_cut_again(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "crops"
    cut(videos, out)
    render_demo_clip(videos / "video5.MP4", seconds=0.4, height=240, width=320)
    report = cut(videos, out)
    assert (list(report.cut), report.cut["video5.MP4"].frames) == (["video5.MP4"], 10)
    assert len(list((out / "video5").glob("*.png"))) == report.cut["video5.MP4"].crops["video5"]


def test_crops_of_others_are_not_replaced(tmp_path: Path, videos: Path) -> None:
    theirs = tmp_path / "crops" / "video5" / "00001.jpg"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    report = cut(videos, tmp_path / "crops")
    assert "CropsFolderOccupied" in report.failures["video5.MP4"]
    assert theirs.read_bytes() == b"theirs"


def test_annotations_name_the_recordings(tmp_path: Path, videos: Path) -> None:
    annotated = tmp_path / "annotations" / "VA_Estimation_Challenge" / "Train_Set"
    annotated.mkdir(parents=True)
    other_challenge = tmp_path / "annotations" / "EXPR_Recognition_Challenge" / "Train_Set"
    other_challenge.mkdir(parents=True)
    (other_challenge / "7-25-320x240.txt").write_text("Neutral,Anger\n")
    for name in ("video5_left", "video5_right", "video95"):
        (annotated / f"{name}.txt").write_text("valence,arousal\n")
    report = cut(videos, tmp_path / "crops", tmp_path / "annotations")
    crops = report.cut["video5.MP4"].crops
    # one person, on one side of the picture
    assert sorted(crops.values()) == [0, FRAMES]
    assert list(report.cut) == ["video5.MP4"]
    assert list(report.failures) == ["video95"]


def test_two_runs_do_not_cut_into_one_folder(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "crops"
    out.mkdir()
    with (out / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CropsFolderBusy, match="crops"):
            cut(videos, out)
    assert len(cut(videos, out).cut) == 2


def face(track: int, left: float, side: float = 40) -> TrackedFace:
    return TrackedFace(track=track, box=FaceBox(left=left, top=0, width=side, height=side, score=1))


def test_sides_are_those_of_the_picture_over_all_tracks_of_a_person() -> None:
    table = FaceTable()
    for index in range(10):
        left = face(1 if index < 6 else 3, 20)  # found anew as a third track
        table.add(
            Frame(index=index, time_seconds=index, faces=(face(2, 200), left)[: 2 - index % 2])
        )
    names = ("video5", "video5_left", "video5_right")
    selected = table.select(names, width=320)
    assert set(selected["video5"].values()) == {2}
    assert selected["video5_right"] == dict.fromkeys(range(10), 2)
    assert selected["video5_left"] == {0: 1, 2: 1, 4: 1, 6: 3, 8: 3}


def test_the_command_lists_failures_and_ends_with_1(tmp_path: Path, videos: Path) -> None:
    for name in ("7-25-320x240.mp4", "video5.MP4"):
        (videos / name).unlink()
    result = CliRunner().invoke(app, ["cut-faces", str(videos), str(tmp_path / "crops")])
    assert result.exit_code == 1
    assert "failed video6.mp4: ClipNotMedia" in result.output


def test_what_cannot_be_planned_is_refused(tmp_path: Path, videos: Path) -> None:
    with pytest.raises(VideoNotFound, match="nowhere"):
        plan_cut([tmp_path / "nowhere"], None, SETTINGS)
    for empty in (videos, tmp_path / "nowhere"):
        with pytest.raises(LayoutNotFound, match=str(empty)):
            plan_cut([videos], empty, SETTINGS)
    shutil.copy(videos / "video5.MP4", videos / "video5.avi")
    with pytest.raises(LayoutAmbiguous, match="video5"):
        plan_cut([videos], None, SETTINGS)
