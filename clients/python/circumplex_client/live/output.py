"""Formatting of results: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
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


def format_json(result: LiveResult, classes: Sequence[str] = ()) -> str:
    """Format a result as JSON with the additional key `type`; class probabilities by name."""
    document = {"type": TYPE_NAMES[type(result)], **asdict(result)}
    for track in document.get("tracks", ()):
        probabilities = track.pop("class_probabilities")
        track["classes"] = dict(zip(classes, probabilities, strict=False))
    return json.dumps(document)


def format_table_rows(result: LiveResult, classes: Sequence[str] = ()) -> str:
    """Format a result as table rows: one per face, or one with the reason for no face.

    Args: classes: of the model; a row ends with the likeliest one.
    """
    match result:
        case FrameResult(tracks=()):
            return f"{_format_frame_prefix(result)}   {result.missing or 'no track'}"
        case FrameResult():
            return "\n".join(
                f"{_format_frame_prefix(result)} {_format_track(each, classes)}"
                for each in result.tracks
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


def _format_track(track: TrackResult, classes: Sequence[str]) -> str:
    estimate = track.estimate
    if estimate is None:
        cells = f"{'-':>9} {'-':>8} {'-':>8}"
    else:
        spread = max(estimate.valence_std, estimate.arousal_std)
        cells = f"{estimate.valence:+9.3f} {estimate.arousal:+8.3f} {spread:8.3f}"
    likeliest = max(zip(track.class_probabilities, classes, strict=False), default=None)
    remark = f"{likeliest[1]} {likeliest[0]:.2f}" if likeliest else track.missing or ""
    return f"{cells} {track.track:6d} {remark}".rstrip()


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
    if summary.modalities_used:
        words.append(f"used {' and '.join(summary.modalities_used)}")
    return "; ".join((*words, *summary.flags))
