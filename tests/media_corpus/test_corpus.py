"""Media corpus: every clip is compared with FFmpeg's listing and with its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.media.in_process_reading import read_video
from tests.media_corpus.case import CorpusCase
from tests.media_corpus.containers import CONTAINER_CASES
from tests.media_corpus.ffmpeg_reference import list_frames
from tests.media_corpus.picture_formats import COLOR_CASES, GEOMETRY_CASES, MULTI_STREAM_CASES
from tests.media_corpus.timestamps import TIMESTAMP_CASES

CORPUS = {
    each.name: each
    for each in (
        *CONTAINER_CASES,
        *TIMESTAMP_CASES,
        *GEOMETRY_CASES,
        *COLOR_CASES,
        *MULTI_STREAM_CASES,
    )
}


@pytest.mark.parametrize("each", CORPUS.values(), ids=CORPUS.keys())
def test_frames_and_times_equal_those_of_ffmpeg(tmp_path: Path, each: CorpusCase) -> None:
    clip = each.build(tmp_path)
    reading, listing = (
        read_video(clip, video_stream=each.video_stream),
        list_frames(clip, each.listed),
    )
    assert reading.media.time_base == str(listing.time_base)
    assert [round(seconds / listing.time_base) for seconds in reading.times] == listing.ticks
    assert reading.times == listing.seconds()
    assert len(reading.times) == each.rows
    # containers count in ticks of 1 ms or finer
    assert reading.times[0] == pytest.approx(each.first, abs=0.001)
    assert reading.times[-1] == pytest.approx(each.last, abs=0.001)
    assert reading.flags == each.flags
    for found, expected in (
        (reading.media, each.media_info),
        (reading.anomalies, each.anomalies),
    ):
        actual = {name: getattr(found, name) for name in expected}
        assert actual == pytest.approx(expected)
