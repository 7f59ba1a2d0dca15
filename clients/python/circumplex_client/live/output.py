"""Formatting of results: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from circumplex_client.live.results import (
    FrameResult,
    FramesDropped,
    LiveResult,
    StreamSummary,
    TrackResult,
)

TYPE_NAMES: Final = {FrameResult: "frame", FramesDropped: "dropped", StreamSummary: "summary"}

TABLE_HEADER: Final = "     frame      time   valence  arousal   spread  track"
"""`~` marks a provisional result, `=` a final one."""

ResultFormatter = Callable[[LiveResult], str]


def format_json(result: LiveResult) -> str:
    """Format a result as JSON with the additional key `type`."""
    return json.dumps({"type": TYPE_NAMES[type(result)], **asdict(result)})


def format_table_rows(result: LiveResult) -> str:
    """Format a result as table rows: one per face, or one with the reason for no face."""
    match result:
        case FrameResult(tracks=()):
            return f"{_format_frame_prefix(result)}   {result.missing or 'no track'}"
        case FrameResult():
            return "\n".join(
                f"{_format_frame_prefix(result)} {_format_track(each)}" for each in result.tracks
            )
        case FramesDropped():
            last = result.first_index + result.count - 1
            return (
                f"! {result.first_index:8d} {result.time:9.3f}   to {last} dropped: {result.reason}"
            )
        case StreamSummary():
            return _format_summary(result)


def _format_frame_prefix(result: FrameResult) -> str:
    return f"{'=' if result.is_final else '~'} {result.index:8d} {result.time:9.3f}"


def _format_track(track: TrackResult) -> str:
    estimate = track.estimate
    if estimate is None:
        cells = f"{'-':>9} {'-':>8} {'-':>8}"
    else:
        spread = max(estimate.valence_std, estimate.arousal_std)
        cells = f"{estimate.valence:+9.3f} {estimate.arousal:+8.3f} {spread:8.3f}"
    return f"{cells} {track.track:6d} {track.missing or ''}".rstrip()


def _format_summary(summary: StreamSummary) -> str:
    words = [f"{summary.frames} frames", f"{summary.frames_dropped} dropped"]
    words.append(
        "no face" if summary.primary_track is None else f"primary track {summary.primary_track}"
    )
    if (latency := summary.latency) is not None:
        words.append(
            f"latency p50 {1000 * latency.p50:.0f} ms, p95 {1000 * latency.p95:.0f} ms, "
            f"p99 {1000 * latency.p99:.0f} ms"
        )
    return "; ".join((*words, *summary.flags))
