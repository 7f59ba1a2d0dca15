"""Results for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from circumplex_client.live.results import Dropped, FrameResult, LiveResult, Summary, TrackResult

KINDS: Final = {FrameResult: "frame", Dropped: "dropped", Summary: "summary"}

HEAD: Final = "     frame      time   valence  arousal   spread  track"
"""`~` is before a provisional result, `=` before a final one."""

Lines = Callable[[LiveResult], str]


def json_line(result: LiveResult) -> str:
    """The result as JSON; `type` says what it is."""
    return json.dumps({"type": KINDS[type(result)], **asdict(result)})


def table_rows(result: LiveResult) -> str:
    """A row for each face, or for why there is none."""
    match result:
        case FrameResult(tracks=()):
            return f"{_start_of(result)}   {result.missing or 'no track'}"
        case FrameResult():
            return "\n".join(f"{_start_of(result)} {_cells_of(each)}" for each in result.tracks)
        case Dropped():
            last = result.first_index + result.count - 1
            return (
                f"! {result.first_index:8d} {result.time:9.3f}   to {last} dropped: {result.reason}"
            )
        case Summary():
            return _end_of(result)


def _start_of(result: FrameResult) -> str:
    return f"{'=' if result.is_final else '~'} {result.index:8d} {result.time:9.3f}"


def _cells_of(track: TrackResult) -> str:
    told = track.estimate
    if told is None:
        cells = f"{'-':>9} {'-':>8} {'-':>8}"
    else:
        spread = max(told.valence_std, told.arousal_std)
        cells = f"{told.valence:+9.3f} {told.arousal:+8.3f} {spread:8.3f}"
    return f"{cells} {track.track:6d} {track.missing or ''}".rstrip()


def _end_of(summary: Summary) -> str:
    words = [f"{summary.frames} frames", f"{summary.frames_dropped} dropped"]
    words.append(
        "no face" if summary.primary_track is None else f"primary track {summary.primary_track}"
    )
    if (told := summary.latency) is not None:
        words.append(
            f"latency p50 {1000 * told.p50:.0f} ms, p95 {1000 * told.p95:.0f} ms, "
            f"p99 {1000 * told.p99:.0f} ms"
        )
    return "; ".join((*words, *summary.flags))
