"""Search for clips in folders as people and systems leave them, and the names of results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from circumplex_client.clip_search import ClipSearch, name_result

CLIPS = ("a.mp4", "sub/B.MOV", "sub/talk.mp4/inner.webm")
PASSED_OVER = (
    "._a.mp4",
    ".hidden.mkv",
    "$RECYCLE.BIN",
    ".Trash-1000",
    "__MACOSX",
    "@eaDir",
    "#recycle",
    "sub/Trash",
    "@Recently-Snapshot",
    "fifo.ts",
    "broken.mp4",
    "sub/loop",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    trash = [f"{name}/old.mp4" for name in PASSED_OVER[2:9]]
    for name in (*CLIPS, *PASSED_OVER[:2], *trash, "notes.txt", ".DS_Store"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.mkfifo(folder / "fifo.ts")
    (folder / "broken.mp4").symlink_to("nowhere.mp4")
    (folder / "sub" / "loop").symlink_to(folder)
    return folder


def test_folders_are_searched_for_clips_and_the_rest_is_named(folder: Path) -> None:
    search = ClipSearch()
    search.add([folder])
    assert sorted(search.clips.values()) == sorted(CLIPS)
    assert {path.relative_to(folder).as_posix() for path, _ in search.passed_over} == {*PASSED_OVER}


def test_links_to_clips_and_to_other_folders_are_followed(folder: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "one.mp4").symlink_to(folder / "a.mp4")
    (links / "all").symlink_to(folder / "sub" / "talk.mp4")
    search = ClipSearch()
    search.add([links])
    assert set(search.clips.values()) == {"one.mp4", "all/inner.webm"}


def test_a_file_that_is_named_is_a_clip_whatever_its_name(folder: Path) -> None:
    search = ClipSearch()
    search.add([folder / "._a.mp4", folder / "notes.txt"])
    assert set(search.clips.values()) == {"._a.mp4", "notes.txt"}
    assert search.passed_over == []


@pytest.mark.parametrize("last", ["x" * 251, "ü" * 125 + ".mp4", "日" * 85, "\udcff" * 255])
def test_names_at_the_limit_of_the_file_system_are_shortened(tmp_path: Path, last: str) -> None:
    limit = os.pathconf(tmp_path, "PC_NAME_MAX")
    names = [name_result(f"sub/{last[:-1]}{end}", ".json", limit) for end in "12"]
    for name in names:
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.touch(exist_ok=False)
        assert name.endswith(".json")
    assert len(set(names)) == len(names)


def test_ordinary_names_are_kept() -> None:
    assert name_result("sub/a.mp4", ".csv", 255) == "sub/a.mp4.csv"
