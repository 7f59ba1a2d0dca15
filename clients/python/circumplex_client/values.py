"""Jobs and results as plain values: lists and numbers, None where unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from circumplex_client.errors import Problem

Column = list[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
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
class Progress:
    """How far a job is; `fraction` is None while the number of frames is unknown."""

    fraction: float | None
    frames_done: int
    frames_total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stood when it was asked for."""

    id: str
    state: str
    progress: Progress
    choices: Choices
    attempts: int
    error: Problem | None
    links: Mapping[str, str]

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after."""
        return self.state in ("succeeded", "failed", "cancelled")

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the JSON object."""
        return cls(
            id=document["id"],
            state=document["state"],
            progress=Progress(**document["progress"]),
            choices=Choices(**document["choices"]),
            attempts=document["attempts"],
            error=Problem.read(document["error"]) if document["error"] else None,
            links=document["links"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Faces:
    """The face of each frame, in pixels of the displayed frame; None without one."""

    left: Column
    top: Column
    width: Column
    height: Column
    score: Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One value for every decoded frame in each column.

    time: seconds. valence, arousal: [-1, 1], None before the first face; `*_std`: the spread of
    the six folds; `*_smoothed`: over time. observed: whether the frame has a face of its own;
    missing: why it has none.
    """

    media: Mapping[str, Any]
    provenance: Mapping[str, Any]
    flags: list[str]
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

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the JSON result; columns that a newer server adds are passed over."""
        frames = {**document["frames"]}
        face = frames.pop("face")
        known = {name: column for name, column in frames.items() if name in cls.__slots__}
        return cls(
            media=document["media"],
            provenance=document["provenance"],
            flags=document["flags"],
            face=Faces(**{name: face[name] for name in Faces.__slots__}),
            **known,
        )
