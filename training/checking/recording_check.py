"""Checks of one recording: its annotation, its crops and its video."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.domain.media import Flag
from training.checking.findings import Finding, Severity
from training.data.crops import verify_crop
from training.data.errors import CropUnreadable, VideoTooShort, VideoUnreadable
from training.data.layout import Recording, Split
from training.data.spectra_cache import count_tolerated_rows
from training.data.video import check_video_opens, read_video_with_flags

_SAMPLED_CROPS: Final = 20
_NAMED_CROPS: Final = 5
_MIN_FACE_SHARE: Final = 0.5
_CONSTANT_ROWS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRecording:
    """A recording's findings, and digests by which duplicates are found; None: not computed."""

    findings: tuple[Finding, ...]
    annotation: str | None
    crops: str | None


def check_recording(
    recording: Recording, *, quick: bool, allow_missing_audio: bool
) -> CheckedRecording:
    """Check a recording.

    Args: quick: decode 20 of its crops and the first frame of its video only;
        allow_missing_audio: a video that cannot be read is a warning.
    """
    findings = list(_check_rows(recording))
    broken, digest = _check_crops(recording, quick=quick)
    findings += broken
    if recording.video is not None:
        found = _check_video(recording, quick=quick)
        findings += (each.soften() if allow_missing_audio else each for each in found)
    is_annotated = recording.is_annotated.any()
    return CheckedRecording(
        findings=tuple(findings),
        annotation=hashlib.sha256(recording.targets.tobytes()).hexdigest()
        if is_annotated
        else None,
        crops=digest,
    )


def _check_rows(recording: Recording) -> Iterator[Finding]:
    name, annotated = recording.name, recording.targets[recording.is_annotated]
    if not len(recording):
        yield Finding(severity=Severity.ERROR, kind="NoRows", detail=f"{name} has no row")
        return
    if not len(annotated) and recording.split is not Split.TEST:
        yield Finding(
            severity=Severity.ERROR, kind="NoAnnotatedFrames", detail=f"every row of {name} is -5"
        )
    if len(annotated) > _CONSTANT_ROWS and not np.ptp(annotated, axis=0).any():
        yield Finding.warning("AnnotationConstant", f"all rows of {name} are {annotated[0]}")
    share = float(recording.has_face.mean())
    if share < _MIN_FACE_SHARE:
        yield Finding.warning(
            "CropsFew",
            f"{recording.has_face.sum()} crops for {len(recording)} rows in "
            f"{recording.crops_folder}",
        )
    if recording.surplus_crops:
        yield Finding.warning(
            "CropsSurplus",
            f"{recording.surplus_crops} crops past the {len(recording)} rows of {name}, in "
            f"{recording.crops_folder}",
        )


def _check_crops(recording: Recording, *, quick: bool) -> tuple[list[Finding], str | None]:
    """Decode crops strictly; returns findings, and a digest of all of them."""
    rows = np.flatnonzero(recording.has_face)
    if quick and len(rows) > _SAMPLED_CROPS:
        rows = rows[np.linspace(0, len(rows) - 1, _SAMPLED_CROPS).astype(int)]
    broken: list[str] = []
    digest = hashlib.sha256()
    for row in rows.tolist():
        file = recording.crop_file(row)
        try:
            content = file.read_bytes()
            verify_crop(content, file)
            digest.update(hashlib.sha256(content).digest())
        except OSError as error:
            broken.append(f"{file}: {error.strerror}")
        except CropUnreadable as error:
            broken.append(str(error).partition(": ")[2])
    findings = [
        Finding(severity=Severity.ERROR, kind=CropUnreadable.__name__, detail=detail)
        for detail in broken[:_NAMED_CROPS]
    ]
    if len(broken) > _NAMED_CROPS:
        detail = f"{len(broken)} crops of {recording.name}, of {len(rows)}"
        findings.append(
            Finding(severity=Severity.ERROR, kind=CropUnreadable.__name__, detail=detail)
        )
    return findings, digest.hexdigest() if len(rows) and not quick else None


def _check_video(recording: Recording, *, quick: bool) -> Iterator[Finding]:
    video = recording.video
    if video is None:
        return
    try:
        if quick:
            check_video_opens(video)
            return
        times, _, flags = read_video_with_flags(video)
    except VideoUnreadable as error:
        yield Finding.of(error)
        return
    if Flag.NO_AUDIO in flags:
        yield Finding.warning("VideoSilent", f"{video} has no audio")
    if Flag.DAMAGED in flags:
        yield Finding.warning("VideoDamaged", f"some audio of {video} cannot be decoded")
    counts = f"{video}: {len(times)} frames, {recording.name} has {len(recording)} rows"
    if len(times) + count_tolerated_rows(len(recording)) < len(recording):
        yield Finding.of(VideoTooShort(counts))
    elif len(times) != len(recording):
        yield Finding.warning("RowsDiffer", counts)
