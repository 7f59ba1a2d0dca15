"""Typed errors over REST for clips that cannot be annotated."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from circumplex_client import Client, JobFailed

from tests.e2e.conftest import MAX_CLIP_SECONDS, MAX_UPLOAD_BYTES
from tests.media.clip_factory import AudioTrack, VideoTrack, encode_clip


def make_text_file(folder: Path) -> Path:
    path = folder / "clip.mp4"
    path.write_text("This is not a video.\n" * 50)
    return path


def make_truncated(folder: Path) -> Path:
    """Write an MP4 without the index at its end."""
    whole = encode_clip(folder / "whole.mp4", VideoTrack(count=100))
    path = folder / "cut.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return path


def make_audio_only(folder: Path) -> Path:
    return encode_clip(folder / "voice.m4a", audio_track=AudioTrack())


def make_without_frames(folder: Path) -> Path:
    """Write a complete container whose video packets contain no picture."""
    whole = encode_clip(
        folder / "whole.mkv",
        VideoTrack(count=5, codec="mpeg4", time_base=Fraction(1, 25), options={}),
    )
    path = folder / "void.mkv"
    body = whole.read_bytes()
    marker = b"\x00\x00\x01\xb6"  # where an MPEG-4 picture starts
    assert marker in body
    path.write_bytes(body.replace(marker, b"\x00\x00\x00\x00"))
    return path


def make_too_long(folder: Path) -> Path:
    track = VideoTrack(count=int(MAX_CLIP_SECONDS) + 5, rate=Fraction(1))
    return encode_clip(folder / "long.mp4", track)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (make_text_file, "clip_not_media"),
        (make_truncated, "clip_truncated"),
        (make_audio_only, "clip_without_video"),
        (make_without_frames, "clip_without_frames"),
        (make_too_long, "clip_too_long"),
    ],
)
def test_bad_clip_fails_its_job_with_its_own_problem(
    client: Client, address: str, tmp_path: Path, make: Callable[[Path], Path], code: str
) -> None:
    job = client.submit(make(tmp_path))
    with pytest.raises(JobFailed) as failure:
        client.wait(job.id)
    assert failure.value.problem.code == code

    job_document = httpx.get(f"{address}/v1/jobs/{job.id}").json()
    assert job_document["state"] == "failed"
    assert job_document["error"]["code"] == code
    result = httpx.get(f"{address}/v1/jobs/{job.id}/result")
    assert result.status_code == 422
    assert result.headers["content-type"] == "application/problem+json"
    assert result.json()["code"] == code
    assert result.json()["job_id"] == job.id


def test_cut_clip_that_can_still_be_read_is_annotated_and_flagged(
    client: Client, address: str, tmp_path: Path
) -> None:
    whole = encode_clip(tmp_path / "whole.mkv", VideoTrack(count=100), AudioTrack())
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    job = client.wait(client.submit(cut).id)
    result = httpx.get(f"{address}/v1/jobs/{job.id}/result").json()
    assert 0 < len(result["frames"]["index"]) < 100
    assert "truncated" in result["flags"]


def post(address: str, **request: Any) -> httpx.Response:
    return httpx.post(f"{address}/v1/jobs", **request)


@pytest.mark.parametrize(
    ("request_body", "status", "code"),
    [
        ({"files": {"clip": ("a.mp4", b"", "video/mp4")}}, 422, "clip_empty"),
        ({"files": {"video": ("a.mp4", b"x", "video/mp4")}}, 422, "clip_field_missing"),
        ({"json": {"clip": "a.mp4"}}, 415, "media_type_unsupported"),
        (
            {"files": {"clip": ("a.mp4", bytes(MAX_UPLOAD_BYTES + 1), "video/mp4")}},
            413,
            "clip_too_large",
        ),
    ],
)
def test_upload_that_cannot_become_a_job_is_refused_at_once(
    address: str, request_body: dict[str, Any], status: int, code: str
) -> None:
    response = post(address, **request_body)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"


def test_unknown_job_is_not_found(address: str) -> None:
    for path in ("", "/result"):
        response = httpx.get(f"{address}/v1/jobs/00000000-0000-4000-8000-000000000000{path}")
        assert (response.status_code, response.json()["code"]) == (404, "job_unknown")


def test_result_of_a_running_job_is_not_ready(address: str, talking_clip: Path) -> None:
    with talking_clip.open("rb") as clip:
        job = post(address, files={"clip": clip}).json()
    response = httpx.get(f"{address}/v1/jobs/{job['id']}/result")
    assert (response.status_code, response.json()["code"]) == (409, "result_not_ready")
    assert int(response.headers["retry-after"]) >= 1
