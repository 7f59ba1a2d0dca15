"""Jobs, notifications and results as plain values: lists and numbers, None where unknown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from circumplex_client.errors import ProblemDetails

Column = list[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOptions:
    """Options of one clip; the service chooses a stream where the index is None.

    faces: "primary", the face visible longest, or "all".
    video_stream, audio_stream: index among all streams of the file, as in ffprobe.
    """

    faces: str = "primary"
    video_stream: int | None = None
    audio_stream: int | None = None

    def to_query(self) -> dict[str, str]:
        """Build the query parameters of a submission."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Parse the JSON object; unknown options of newer servers are ignored."""
        return cls(**{each.name: document[each.name] for each in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """Progress of a job; None where not known yet.

    fraction: [0, 1]. eta_seconds: estimated remaining time of a running job.
    """

    fraction: float | None
    frames_done: int
    frames_total: int | None
    eta_seconds: float | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Parse the JSON object; unknown fields of newer servers are ignored."""
        return cls(**{field.name: document[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """State of a job at the time of the request.

    model: NAME@VERSION that the job is pinned to; None where an older server did not say.
    """

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
    model: str | None = None

    @property
    def is_final(self) -> bool:
        """True once the job has ended."""
        return self.state in ("succeeded", "failed", "cancelled")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Parse the JSON object."""
        return cls(
            id=document["id"],
            state=document["state"],
            progress=JobProgress.from_json(document["progress"]),
            choices=ClipOptions.from_json(document["choices"]),
            attempts=document["attempts"],
            created_at=document["created_at"],
            priority=document["priority"],
            filename=document["clip"]["filename"],
            error=ProblemDetails.from_json(document["error"]) if document["error"] else None,
            links=document["links"],
            model=document.get("model"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobNotification:
    """State of a job after a change; kind: "state", "progress" or "deleted" (without a state)."""

    id: str | None
    kind: str
    job_id: str
    state: str | None
    progress: JobProgress | None
    error_code: str | None

    @property
    def is_final(self) -> bool:
        """True for the last notification of a job."""
        return self.kind == "deleted" or self.state in ("succeeded", "failed", "cancelled")

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> Self:
        """Parse the fields of one server-sent event."""
        data: Mapping[str, Any] = json.loads(fields["data"])
        progress = data.get("progress")
        return cls(
            id=fields.get("id"),
            kind=fields["event"],
            job_id=data["job_id"],
            state=data.get("state"),
            progress=None if progress is None else JobProgress.from_json(progress),
            error_code=data.get("error_code"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Faces:
    """Face boxes, one value per frame in each column; None where there is no face.

    left, top, width, height: pixels of the displayed frame. x, y, w, h: the part inside the
    frame, relative to its width and height, in [0, 1].
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
    """Columns of one track, one value per frame.

    time: seconds. valence, arousal: [-1, 1], None before the first face; `*_std`: their
    standard deviations, as the result's `std_meaning` says; `*_smoothed`: smoothed over time.
    observed: true where the track's face is in the frame; missing: the reason where it is not.
    classes: a column for each class of the model, of the probability in [0, 1], None where the face
    is not in the frame; empty where the model has no classes, or of an older server.
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
    classes: Mapping[str, Column] = field(default_factory=dict[str, Column])

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceTrack:
    """One tracked face of the clip; times in seconds.

    mean_face: left, top, width, height, score, x, y, w, h, averaged over the observed frames.
    frames: only with `faces="all"`: from the first observed frame to the last, without the
    frames of long absences.
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
        """Parse the JSON object."""
        frames = document.get("frames")
        columns = None if frames is None else Frames(**_parse_columns(frames))
        known = {
            field.name: document[field.name] for field in fields(cls) if field.name != "frames"
        }
        return cls(frames=columns, **known)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultModel:
    """Model that made a result.

    id: NAME@VERSION. domain: what it has learnt from, "drawn", "photographs" or "recordings"; None:
    it is not known. modalities: what it can use, "face" and "voice"; modalities_used: what of these
    the clip has. classes: names of its class probabilities. licences: of code, weights and data.
    figures: published or measured accuracies, with their source. caveats: sentences for people.
    """

    id: str
    name: str
    version: int
    title: str
    domain: str | None
    modalities: list[str]
    modalities_used: list[str]
    std_meaning: str
    classes: list[str]
    licences: Mapping[str, str]
    figures: list[Mapping[str, Any]]
    caveats: list[str]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Parse the JSON object; unknown fields of newer servers are ignored."""
        return cls(**{field.name: document[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipResult(Frames):
    """Result of a clip: the primary track's columns for every decoded frame, and all tracks.

    model_details: the model and its caveats; None where an older server did not say.
    track: the primary track's id, None where there is no face.
    std_meaning: "calibrated", standard deviations of the error; "published_error", that of the
    model's publisher on data of another kind; or "disagreement", of the folds or networks, which is
    less; None where an older server did not say.
    """

    media: Mapping[str, Any]
    provenance: Mapping[str, Any]
    flags: list[str]
    track: int | None
    tracks: list[FaceTrack]
    std_meaning: str | None = None
    model_details: ResultModel | None = None

    @property
    def model(self) -> str | None:
        """NAME@VERSION of the model; None where an older server did not say."""
        return None if self.model_details is None else self.model_details.id

    @property
    def domain(self) -> str | None:
        """Pictures that the model has learnt from: drawn, photographs, recordings; or unknown."""
        return self.provenance.get("domain")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Parse the JSON result; unknown columns of newer servers are ignored."""
        model = document.get("model")
        return cls(
            model_details=None if model is None else ResultModel.from_json(model),
            media=document["media"],
            provenance=document["provenance"],
            flags=document["flags"],
            track=document["track"],
            tracks=[FaceTrack.from_json(track) for track in document["tracks"]],
            std_meaning=document.get("std_meaning"),
            **_parse_columns(document["frames"]),
        )


def _parse_columns(frames: Mapping[str, Any]) -> dict[str, Any]:
    face = Faces(**{field.name: frames["face"][field.name] for field in fields(Faces)})
    nested = {"face": face, "classes": frames.get("classes", {})}
    names = (field.name for field in fields(Frames))
    return {name: frames[name] for name in names if name not in nested} | nested
