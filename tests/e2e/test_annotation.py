"""A clip through every real part: REST, Redis, worker, decode process, Triton, store."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from circumplex_client import Client

from service.embedded.stack import Stack, settings_to_environment
from tests.media.clip_factory import AudioTrack, VideoTrack, encode_clip


def decoded_times(clip: Path) -> list[float]:
    with av.open(str(clip)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def fetch_result(client: Client, address: str, clip: Path) -> dict[str, Any]:
    job = client.wait(client.submit(clip).id)
    return httpx.get(f"{address}/v1/jobs/{job.id}/result").json()


def test_every_frame_of_a_talking_face_gets_its_time_and_an_estimate(
    client: Client, address: str, talking_clip: Path
) -> None:
    result = fetch_result(client, address, talking_clip)
    frames = result["frames"]
    assert frames["time"] == decoded_times(talking_clip)
    assert frames["index"] == list(range(75))
    assert all(frames["observed"])
    for name in ("valence", "arousal", "valence_smoothed", "arousal_smoothed"):
        assert all(-1 <= value <= 1 for value in frames[name])
        assert len(set(frames[name])) > 50, "a nearly constant column was not computed"
    assert all(0 <= spread <= 1 for spread in frames["valence_std"])
    assert result["flags"] == ["weights_unmeasured"]
    assert result["media"]["audio_codec"] == "aac"
    assert result["provenance"]["training"] == "untrained"
    assert len(result["provenance"]["models"]["visual_backbone"]["weights_sha256"]) == 64


def test_smoothed_values_move_less_than_raw_ones(
    client: Client, address: str, talking_clip: Path
) -> None:
    frames = fetch_result(client, address, talking_clip)["frames"]
    for name in ("valence", "arousal"):
        raw, smoothed = np.diff(frames[name]), np.diff(frames[f"{name}_smoothed"])
        assert np.abs(smoothed).mean() < np.abs(raw).mean() / 2


def test_csv_and_json_hold_the_same_numbers(
    client: Client, address: str, talking_clip: Path
) -> None:
    job = client.wait(client.submit(talking_clip).id)
    url = f"{address}/v1/jobs/{job.id}/result"
    rows = list(csv.DictReader(io.StringIO(httpx.get(url, params={"format": "csv"}).text)))
    frames = httpx.get(url, headers={"Accept": "application/json"}).json()["frames"]
    assert [float(row["valence"]) for row in rows] == frames["valence"]
    assert [float(row["time"]) for row in rows] == frames["time"]
    assert [float(row["face_left"]) for row in rows] == frames["face"]["left"]


def test_ten_concurrent_clips_all_succeed_with_the_same_numbers(
    client: Client, address: str, talking_clip: Path
) -> None:
    with ThreadPoolExecutor(10) as threads:
        futures = [threads.submit(fetch_result, client, address, talking_clip) for _ in range(10)]
    results = [future.result() for future in futures]
    first = results[0]["frames"]
    assert all(result["frames"] == first for result in results)


def test_local_command_gives_the_same_file_as_the_service(
    stack: Stack, client: Client, address: str, talking_clip: Path, tmp_path: Path
) -> None:
    job = client.wait(client.submit(talking_clip).id)
    served = httpx.get(f"{address}/v1/jobs/{job.id}/result", params={"format": "csv"}).content
    output, plot = tmp_path / "points.csv", tmp_path / "points.png"
    completed = subprocess.run(
        [sys.executable, "-m", "service", "annotate", talking_clip, "-o", output, "--plot", plot],
        env=settings_to_environment(stack.settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert output.read_bytes() == served
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "75 frames" in completed.stderr
    assert "WARNING" not in completed.stderr


def test_local_command_finds_out_before_the_work_that_it_cannot_write(
    stack: Stack, talking_clip: Path, tmp_path: Path
) -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "service", "annotate", talking_clip, "-o", talking_clip / "a.csv"],
        env=settings_to_environment(stack.settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 1
    assert "output_not_writable" in completed.stderr
    assert "frames" not in completed.stderr


def test_clip_longer_than_a_window_has_a_row_for_every_frame(
    client: Client, address: str, tmp_path: Path
) -> None:
    clip = encode_clip(
        tmp_path / "long.mp4", VideoTrack(count=731, rate=Fraction(60)), AudioTrack()
    )
    result = fetch_result(client, address, clip)
    assert result["frames"]["time"] == decoded_times(clip)
    assert result["flags"] == ["no_face", "weights_unmeasured"]


def test_clip_without_a_face_has_rows_without_numbers(
    client: Client, address: str, tmp_path: Path
) -> None:
    clip = encode_clip(
        tmp_path / "wall.mp4", VideoTrack(count=40), AudioTrack(seconds=1.6, clap_seconds=(1.0,))
    )
    result = fetch_result(client, address, clip)
    assert result["flags"] == ["no_face", "weights_unmeasured"]
    assert result["frames"]["valence"] == [None] * 40
    assert result["frames"]["observed"] == [False] * 40
    assert result["frames"]["missing"] == ["face_not_found"] * 40


def test_clip_without_audio_is_estimated_from_the_face_and_flagged(
    client: Client, address: str, talking_clip: Path, tmp_path: Path
) -> None:
    silent = tmp_path / "silent.mp4"
    with av.open(str(talking_clip)) as source, av.open(str(silent), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])  # pyright: ignore[reportUnknownMemberType]  # PyAV's untyped **kwargs
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)  # pyright: ignore[reportUnknownMemberType]  # PyAV's Packet is generic without a default
    result = fetch_result(client, address, silent)
    assert result["flags"] == ["no_audio", "weights_unmeasured"]
    assert None not in result["frames"]["valence"]


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_metrics_of_each_process_show_the_work_done(
    stack: Stack, client: Client, address: str, talking_clip: Path, name: str
) -> None:
    client.wait(client.submit(talking_clip).id)
    settings = stack.settings
    port = {"gateway": settings.http_port, "worker": settings.worker_metrics_port}[name]
    text = httpx.get(f"http://{settings.host}:{port}/metrics").text
    expected_series = {
        "gateway": (
            'circumplex_http_request_duration_seconds_count{method="POST",route="/v1/jobs",'
            'status="202"}',
            'circumplex_stage_duration_seconds_count{stage="upload"}',
        ),
        "worker": (
            *(
                f'circumplex_stage_duration_seconds_count{{stage="{stage}"}}'
                for stage in ("decode", "face", "sound", "embed_faces", "embed_voice", "fuse")
            ),
            'circumplex_job_duration_seconds_count{model="mini@1",outcome="succeeded"}',
            'circumplex_triton_request_duration_seconds_count{model="mini@1",slot="fusion"}',
            'circumplex_frames_total{face="found",model="mini@1"}',
        ),
    }[name]
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert all(float(lines[series]) > 0 for series in expected_series)


def test_crops_go_to_triton_through_shared_memory(
    stack: Stack, client: Client, talking_clip: Path
) -> None:
    client.wait(client.submit(talking_clip).id)
    triton = stack.addresses["Triton"].partition(",")[0]
    regions = httpx.get(f"{triton}/v2/systemsharedmemory/status").json()
    # one of the worker, and one of the gateway where streams have run on this stack
    assert {region["name"].partition("-")[0] for region in regions} == {"circumplex"}


def test_result_survives_as_plain_json_without_nan(
    client: Client, address: str, talking_clip: Path
) -> None:
    job = client.wait(client.submit(talking_clip).id)
    text = httpx.get(f"{address}/v1/jobs/{job.id}/result").text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
