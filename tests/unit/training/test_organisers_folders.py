"""Folders as the organisers of the challenge hand them out, and what `check` finds in them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_dataset import ToyRecording, write_dataset
from typer.testing import CliRunner

from training.checking.dataset_check import check_dataset
from training.checking.recording_check import CheckedRecording
from training.cli import app
from training.data.crops import read_crop
from training.data.errors import (
    CropsMisnumbered,
    CropsNotFound,
    CropUnreadable,
    DatasetError,
    LayoutAmbiguous,
    LayoutNotFound,
    TestListInvalid,
    VideoNotFound,
)
from training.data.folders import DatasetOptions
from training.data.layout import (
    Split,
    filter_split,
    list_recording_names,
    read_dataset,
    read_sample_submission,
)

TRAINING_NAMES = (
    *("1-30-1280x720", "5-60-1920x1080-1", "5-60-1920x1080-2", "10-60-1280x720_right"),
    *("46-30-484x360", "video59", "video5_left", "24-30-1920x1080-1"),
)
VALIDATION_NAMES = ("24-30-1920x1080-2", "video2")
ROWS = 12


@pytest.fixture(scope="module")
def organised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of toy recordings under the organisers' folders and file names."""
    root = write_dataset(
        tmp_path_factory.mktemp("world"),
        (
            *(ToyRecording(name=name, folder="Train_Set", rows=ROWS) for name in TRAINING_NAMES),
            *(ToyRecording(name=n, folder="Validation_Set", rows=ROWS) for n in VALIDATION_NAMES),
        ),
    )
    annotations = root / "6th ABAW Annotations" / "VA_Estimation_Challenge"
    annotations.parent.mkdir()
    (root / "VA_Estimation_Challenge").rename(annotations)
    videos = sorted((root / "videos").iterdir())
    for place, folder in enumerate(("batch1", "batch2", "new_vids")):
        (root / folder).mkdir()
        for video in videos[place::3]:
            video.rename(root / folder / video.name)
    (root / "videos").rmdir()
    new_crops = root / "cropped_aligned_new_50_vids" / "cropped_aligned_new_50_vids"
    new_crops.mkdir(parents=True)
    (root / "cropped_aligned" / "video2").rename(new_crops / "video2")
    (annotations / "Train_Set" / "._video59.txt").write_bytes(b"\0\5\x16\7")
    (root / "cropped_aligned" / "._video59").write_bytes(b"\0\5\x16\7")
    (root / "__MACOSX").mkdir()
    return root


@pytest.fixture
def root(tmp_path: Path, organised: Path) -> Path:
    return shutil.copytree(organised, tmp_path / "world")


def find_video(root: Path, name: str) -> Path:
    return next(root.glob(f"*/{name}.*"))


def list_kinds(
    root: Path, options: DatasetOptions | None = None, *, quick: bool = False
) -> set[str]:
    def track(steps: Iterable[CheckedRecording], total: int) -> Iterable[CheckedRecording]:
        return steps

    report = check_dataset(root, options or DatasetOptions(), quick=quick, workers=2, track=track)
    return {f"{finding.severity} {finding.kind}" for finding in report.findings}


def test_the_organisers_folders_are_read_as_they_come(organised: Path) -> None:
    recordings = {recording.name: recording for recording in read_dataset(organised)}
    assert set(recordings) == {*TRAINING_NAMES, *VALIDATION_NAMES}
    assert all(recording.has_face.all() for recording in recordings.values())
    right = recordings["10-60-1280x720_right"].video
    assert right is not None
    assert right.name == "10-60-1280x720.mp4"
    assert recordings["video2"].crops_folder.parent.name == "cropped_aligned_new_50_vids"


def test_crops_are_jpeg_or_png_in_any_case_and_padding(root: Path) -> None:
    folder = root / "cropped_aligned" / "video59"
    for row, name in ((1, "2.JPG"), (2, "000003.jpeg")):
        (folder / f"{row + 1:05d}.jpg").rename(folder / name)
    picture = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    (folder / "00004.jpg").unlink()
    cv2.imwrite(str(folder / "4.PNG"), picture)
    (folder / "00005.jpg").unlink()
    recording = next(each for each in read_dataset(root) if each.name == "video59")
    assert np.flatnonzero(~recording.has_face).tolist() == [4]
    np.testing.assert_array_equal(picture[:, :, ::-1], read_crop(recording.crop_file(3)))
    assert [recording.crop_file(row).name for row in (0, 1, 2)] == [
        *("00001.jpg", "2.JPG", "000003.jpeg"),
    ]


def test_a_missing_video_is_an_error_that_names_the_places(root: Path) -> None:
    find_video(root, "46-30-484x360").unlink()
    with pytest.raises(VideoNotFound) as raised:
        read_dataset(root)
    for place in ("46-30-484x360", "batch1", "batch2", "new_vids"):
        assert place in str(raised.value)
    silent = read_dataset(root, DatasetOptions(allow_missing_audio=True))
    assert [each.name for each in silent if each.video is None] == ["46-30-484x360"]


def break_folders(root: Path, fault: str) -> None:
    crops = root / "cropped_aligned" / "video59"
    match fault:
        case "two videos":
            shutil.copy(find_video(root, "video59"), root / "video59.AVI")
        case "two folders of crops":
            shutil.copytree(
                crops,
                root / "cropped_aligned_new_50_vids" / "cropped_aligned_new_50_vids" / "video59",
            )
        case "two crops":
            shutil.copy(crops / "00001.jpg", crops / "1.jpeg")
        case "other names":
            for file in list(crops.iterdir()):
                file.rename(crops / f"frame_{file.name}")
        case "from zero":
            (crops / "00001.jpg").rename(crops / "00000.jpg")
        case "two annotations":
            shutil.copytree(root / "6th ABAW Annotations", root / "5th ABAW Annotations")
        case _:
            shutil.rmtree(root / "cropped_aligned")
            shutil.rmtree(root / "cropped_aligned_new_50_vids")


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("two videos", LayoutAmbiguous, "videos of video59: .*AVI"),
        ("two folders of crops", LayoutAmbiguous, "crops of video59"),
        ("two crops", CropsMisnumbered, "00001.jpg and 1.jpeg|1.jpeg and 00001.jpg"),
        ("from zero", CropsMisnumbered, "row 1 is file 1"),
        ("other names", CropsNotFound, r"no file such as 00001\.jpg"),
        ("two annotations", LayoutAmbiguous, "5th ABAW"),
        ("no crops", LayoutNotFound, r"cropped_aligned\*"),
    ],
)
def test_what_may_mean_two_things_is_refused(
    root: Path, fault: str, error: type[DatasetError], message: str
) -> None:
    break_folders(root, fault)
    with pytest.raises(error, match=message):
        read_dataset(root)


def test_folders_can_be_named_instead(root: Path) -> None:
    shutil.copytree(root / "6th ABAW Annotations", root / "5th ABAW Annotations")
    for folder in ("batch1", "batch2", "new_vids"):
        shutil.move(root / folder, root.parent / folder)
    options = DatasetOptions(
        annotations=root / "6th ABAW Annotations",
        videos=tuple(root.parent / folder for folder in ("batch1", "batch2", "new_vids")),
    )
    assert len(read_dataset(root, options)) == len(TRAINING_NAMES) + len(VALIDATION_NAMES)


@pytest.mark.parametrize("name", ["VA Estimation Challenge", "va-estimation-challenge", "VA_Set"])
def test_the_challenge_s_folder_is_known_by_other_spellings(root: Path, name: str) -> None:
    place = root / "6th ABAW Annotations"
    (place / "VA_Estimation_Challenge").rename(place / name)
    (place / "EXPR_Recognition_Challenge" / "Train_Set").mkdir(parents=True)
    (place / "EXPR_Recognition_Challenge" / "Train_Set" / "video1.txt").write_text("Neutral\n")
    names = {*TRAINING_NAMES, *VALIDATION_NAMES}
    for options in (None, DatasetOptions(annotations=place)):
        assert {each.name for each in read_dataset(root, options)} == names
    assert set(list_recording_names(place)) == names


def add_test_video(root: Path, name: str) -> None:
    shutil.copytree(root / "cropped_aligned" / "video59", root / "cropped_aligned" / name)
    shutil.copy(find_video(root, "video59"), root / "batch2" / f"{name}.mp4")


def test_the_test_list_and_the_sample_submission_are_the_test_set(root: Path) -> None:
    add_test_video(root, "99-30-640x480")
    (root / "VA_test_set_release.txt").write_text("99-30-640x480\n")
    assert [len(each) for each in filter_split(read_dataset(root), Split.TEST)] == [ROWS]
    rows = "".join(f"99-30-640x480/{number:05d}.jpg,-5,-5\n" for number in range(1, ROWS + 3))
    sample = root / "CVPR_6th_ABAW_VA_test_set_sample.txt"
    sample.write_text(f"image_location,valence,arousal\n{rows}")
    (listed,) = filter_split(read_dataset(root), Split.TEST)
    assert (listed.name, len(listed)) == ("99-30-640x480", ROWS + 2)
    assert not listed.is_annotated.any()
    assert len(read_sample_submission(root) or ()) == ROWS + 2
    sample.write_text("image_location,valence,arousal\nsomething,0,0\n")
    with pytest.raises(TestListInvalid, match="something"):
        read_dataset(root)


def test_a_listed_test_video_without_crops_is_an_error(root: Path) -> None:
    add_test_video(root, "99-30-640x480")
    (root / "VA_test_set_release.txt").write_text("99-30-640x480\n98-30-640x480\n")
    with pytest.raises(DatasetError, match="98-30-640x480"):
        read_dataset(root)


def test_check_passes_a_sound_data_set(organised: Path) -> None:
    assert list_kinds(organised) == {"warning SubjectsShared"}
    assert list_kinds(organised, DatasetOptions(refuse_shared_subjects=True)) == {
        "error SubjectsShared"
    }


def damage(root: Path) -> None:
    crops = root / "cropped_aligned"
    whole = (crops / "video59" / "00002.jpg").read_bytes()
    middle = len(whole) // 2
    (crops / "video59" / "00002.jpg").write_bytes(whole[:middle])
    (crops / "video5_left" / "00013.jpg").write_bytes(whole)
    for number in range(1, 10):
        (crops / "46-30-484x360" / f"{number:05d}.jpg").unlink()
    find_video(root, "video2").write_bytes(b"no video")
    find_video(root, "1-30-1280x720").unlink()
    annotations = root / "6th ABAW Annotations" / "VA_Estimation_Challenge" / "Train_Set"
    (annotations / "5-60-1920x1080-1.txt").write_text("valence,arousal\n" + "-5,-5\n" * 100)
    (annotations / "5-60-1920x1080-2.txt").write_text("valence\n")


def test_check_goes_past_the_first_fault(root: Path) -> None:
    damage(root)
    expected = {
        *("error CropUnreadable", "error VideoUnreadable", "error VideoNotFound"),
        *("error NoAnnotatedFrames", "error AnnotationUnreadable", "error VideoTooShort"),
        *("warning CropsSurplus", "warning CropsFew", "warning SubjectsShared"),
    }
    assert expected <= list_kinds(root)
    result = CliRunner().invoke(app, ["check", str(root), "--quick"])
    assert result.exit_code == 1
    assert "error: VideoUnreadable" in result.output


def test_check_finds_what_is_there_twice(root: Path) -> None:
    add_test_video(root, "99-30-640x480")
    (root / "VA_test_set_release.txt").write_text("99-30-640x480\n")
    (root / "subjects.csv").write_text("video,subject\nvideo59,ann\nvideo95,ann\n")
    found = {"warning CropsEqual", "warning VideosEqual", "warning SubjectUnused"}
    assert found <= list_kinds(root)


@pytest.mark.parametrize("fault", ["empty", "ends early", "damaged", "text"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_broken_picture_is_found(root: Path, fault: str, suffix: str) -> None:
    file = root / "cropped_aligned" / "video59" / f"00001.{suffix}"
    picture = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    (root / "cropped_aligned" / "video59" / "00001.jpg").unlink()
    cv2.imwrite(str(file), picture)
    whole = file.read_bytes()
    middle = len(whole) // 2
    content = {
        "empty": b"",
        "ends early": whole[: -len(whole) // 10],
        "damaged": whole[:middle] + b"\xff" * 500 + whole[middle + 500 :],
        "text": b"<html>not found</html>",
    }[fault]
    file.write_bytes(content)
    assert "error CropUnreadable" in list_kinds(root, quick=True)
    if fault != "damaged":
        with pytest.raises(CropUnreadable, match=file.name):
            read_crop(file)
