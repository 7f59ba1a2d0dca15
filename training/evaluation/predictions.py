"""Prediction files: one CSV per recording, and the ABAW challenge's submission file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array
from training.data.crops import format_crop_name
from training.data.errors import TestListInvalid
from training.data.files import replace_text
from training.data.layout import Recording
from training.data.test_list import SUBMISSION_HEADER, SubmissionRow
from training.evaluation.timelines import Timeline

COLUMNS: Final = (
    "frame",
    "time_seconds",
    "valence_truth",
    "arousal_truth",
    "valence",
    "arousal",
    "valence_std",
    "arousal_std",
    "valence_smoothed",
    "arousal_smoothed",
)


def write_predictions(
    folder: Path,
    recordings: Sequence[Recording],
    timelines: Sequence[Timeline],
    spreads: Sequence[Float32Array],
    folds: Sequence[int],
) -> None:
    """Write `<recording>.csv` with a row per frame; cells without a value are empty.

    Numbers have all digits of their float32, so that metrics can be recomputed from them. `spreads`
    are calibrated, (T, 2) each.
    """
    each = [f"fold{fold}_{target}" for fold in folds for target in ("valence", "arousal")]
    header = ",".join((*COLUMNS, *each))
    for recording, timeline, spread in zip(recordings, timelines, spreads, strict=True):
        rows = _format_rows(recording, timeline, spread)
        text = "".join(f"{line}\n" for line in (header, *rows))
        replace_text(folder / f"{recording.name}.csv", text)


def write_submission(
    file: Path,
    recordings: Sequence[Recording],
    timelines: Sequence[Timeline],
    sample: Sequence[SubmissionRow] | None = None,
) -> None:
    """Write smoothed valence and arousal of every frame in the challenge's format.

    Args: sample: the rows that the challenge wants, in order; None: every frame.
    Raises: TestListInvalid: a wanted row is of no recording that was estimated.
    """
    filled = {
        recording.name: fill_gaps(timeline).tolist()
        for recording, timeline in zip(recordings, timelines, strict=True)
    }
    if sample is None:
        sample = [
            SubmissionRow(location=f"{name}/{format_crop_name(row)}", recording=name, row=row)
            for name, rows in filled.items()
            for row in range(len(rows))
        ]
    lines = [SUBMISSION_HEADER]
    for each in sample:
        rows = filled.get(each.recording, [])
        if each.row >= len(rows):
            raise TestListInvalid(f"{each.location} is of no recording with so many frames")
        valence, arousal = rows[each.row]
        lines.append(f"{each.location},{valence:.9g},{arousal:.9g}")
    replace_text(file, "".join(f"{line}\n" for line in lines))


def fill_gaps(timeline: Timeline) -> Float32Array:
    """Fill gaps, which the challenge does not allow; returns (T, 2) in [-1, 1].

    Frames before the first face take the first estimate; a recording without any face is 0.
    """
    known = np.flatnonzero(timeline.known)
    if not len(known):
        return np.zeros_like(timeline.smoothed)
    filled = timeline.smoothed.copy()
    filled[: known[0]] = filled[known[0]]
    return np.clip(filled, -1.0, 1.0)


def _format_rows(recording: Recording, timeline: Timeline, spread: Float32Array) -> Iterator[str]:
    unknown = ~timeline.known[:, None]
    estimated = np.concatenate((timeline.mean, spread, timeline.smoothed), axis=1)
    folds = timeline.folds.transpose(1, 0, 2).reshape(len(recording), -1)
    table = np.concatenate(
        (
            recording.targets,
            np.where(unknown, np.nan, estimated),
            np.where(unknown, np.nan, folds),
        ),
        axis=1,
    )
    for row, values in enumerate(table.tolist()):
        cells = ("" if math.isnan(value) else f"{value:.9g}" for value in values)
        yield ",".join((str(row), f"{timeline.times[row]:.6f}", *cells))
