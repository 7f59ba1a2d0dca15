"""Jobs and results as plain values: lists and numbers, None where unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from circumplex_client.errors import ProblemDetails

Column = list[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOptions:
    """What may be chosen for a clip; what is None the service chooses.

    faces: "primary", the face that is there most, or "all".
    video_stream, audio_stream: places among all streams of the file, as ffprobe counts them.
    """

    faces: str = "primary"
    video_stream: int | None = None
    audio_stream: int | None = None

    def to_query(self) -> dict[str, str]:
        """The parameters of a submission."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """How far a job is; None is what is not known yet.

    eta_seconds: what a running job will still take at its pace so far.
    """

    fraction: float | None
    frames_done: int
    frames_total: int | None
    eta_seconds: float | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """From the JSON object; what a newer server adds is passed over."""
        return cls(**{field.name: document[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stood when it was asked for."""

    id: str
    state: str
    progress: JobProgress
    choices: ClipOptions
    attempts: int
    created_at: str
    priority: str
    filename: str | None
    error: ProblemDetails | None
    links: Mapping[str, str]

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after."""
        return self.state in ("succeeded", "failed", "cancelled")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """From the JSON object."""
        return cls(
            id=document["id"],
            state=document["state"],
            progress=JobProgress.from_json(document["progress"]),
            choices=ClipOptions(**document["choices"]),
            attempts=document["attempts"],
            created_at=document["created_at"],
            priority=document["priority"],
            filename=document["clip"]["filename"],
            error=ProblemDetails.from_json(document["error"]) if document["error"] else None,
            links=document["links"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Faces:
    """The face in each frame; None without one.

    left, top, width, height: pixels of the displayed frame. x, y, w, h: the part inside the
    picture, as shares of its width and height, in [0, 1].
    """

    left: Column
    top: Column
    width: Column
    height: Column
    score: Column
    x: Column
    y: Column
    w: Column
    h: Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """One value for each frame in each column, for one track.

    time: seconds. valence, arousal: [-1, 1], None before the first face; `*_std`: the spread of
    the six folds; `*_smoothed`: over time. observed: whether the track's face is in the frame;
    missing: why it is not.
    """

    index: list[int]
    time: list[float]
    valence: Column
    arousal: Column
    valence_std: Column
    arousal_std: Column
    valence_smoothed: Column
    arousal_smoothed: Column
    observed: list[bool]
    missing: list[str | None]
    face: Faces

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceTrack:
    """One face through the clip; times in seconds.

    mean_face: left, top, width, height, score, x, y, w, h, over the frames in which it was found.
    frames: where all faces were asked for: from the first of these frames to the last, frames of
    a long absence left out.
    """

    id: int
    primary: bool
    observed_frames: int
    first_time: float
    last_time: float
    mean_face: Mapping[str, float | None]
    frames: Frames | None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """From the JSON object."""
        frames = document.get("frames")
        columns = None if frames is None else Frames(**_parse_columns(frames))
        known = {
            field.name: document[field.name] for field in fields(cls) if field.name != "frames"
        }
        return cls(frames=columns, **known)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipResult(Frames):
    """A result: every decoded frame as the primary track sees it, and who else was seen.

    track: the primary track's id, None where there is no face.
    """

    media: Mapping[str, Any]
    provenance: Mapping[str, Any]
    flags: list[str]
    track: int | None
    tracks: list[FaceTrack]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """From the JSON result; columns that a newer server adds are passed over."""
        return cls(
            media=document["media"],
            provenance=document["provenance"],
            flags=document["flags"],
            track=document["track"],
            tracks=[FaceTrack.from_json(track) for track in document["tracks"]],
            **_parse_columns(document["frames"]),
        )


def _parse_columns(frames: Mapping[str, Any]) -> dict[str, Any]:
    face = Faces(**{field.name: frames["face"][field.name] for field in fields(Faces)})
    return {field.name: frames[field.name] for field in fields(Frames)} | {"face": face}
