"""Settings of the analysis: decoding, face tracking and estimation."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from service.settings.base import SettingsGroup

YARDSTICK: Final = "mini"
"""Model whose numbers can be checked: it has learnt from a synthetic world with known truth."""
_MODEL: Final = r"[a-z][a-z0-9_-]{0,63}(@[1-9][0-9]{0,5})?"


class Decoding(SettingsGroup):
    """Decoding: resources and time limits of a decode process."""

    decode_threads: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Decoder threads per clip, at most as many as there are CPUs.",
    )
    decode_memory_bytes: int | None = Field(
        default=None,
        ge=2**28,
        description="Address space that a decode process may allocate after its start, bytes; "
        "unset: a share of the memory of the machine or its control group. As many run at once as "
        "fit there; other clips wait, other streams are refused.",
    )
    decode_stall_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Time-out of a decode process that neither produces output nor computes, "
        "seconds; then it is killed, and the job is tried again.",
    )
    decode_wall_seconds: float = Field(
        default=12 * 3600.0,
        gt=0,
        description="Maximum wall time of one attempt at decoding a clip, seconds.",
    )
    decode_cpu_seconds: int = Field(
        default=12 * 3600,
        ge=1,
        description="Maximum CPU time of decoding any clip or stream, seconds; see also the "
        "budget by its size: decode_cpu_base_seconds and those after it.",
    )
    decode_cpu_base_seconds: float = Field(
        default=10.0,
        gt=0,
        description="CPU time for a clip or stream of any size, seconds. One that takes more than "
        "this and what its bytes, frames and pixels add fails with clip_too_costly.",
    )
    decode_cpu_seconds_per_megabyte: float = Field(
        default=30.0, ge=0, description="CPU time added for each megabyte (10^6) of media, seconds."
    )
    decode_cpu_seconds_per_frame: float = Field(
        default=0.04, ge=0, description="CPU time added for each decoded frame, seconds."
    )
    decode_cpu_seconds_per_megapixel: float = Field(
        default=0.06,
        ge=0,
        description="CPU time added for each megapixel (10^6) of each decoded frame, seconds.",
    )
    min_bytes_per_frame: float = Field(
        default=16.0,
        ge=0,
        description="Bytes of media for each frame beyond the first thousand: one with more "
        "frames fails with clip_too_costly.",
    )
    chunk_frames: int = Field(
        default=32, ge=1, le=300, description="Frames per chunk sent to the backbones."
    )


class FaceTracking(SettingsGroup):
    """Face tracking: number and size of the faces that are tracked."""

    max_faces: int = Field(
        default=12,
        ge=1,
        le=16,
        description="Maximum number of faces tracked at a time; the largest ones are chosen.",
    )
    min_face_pixels: float = Field(
        default=20.0,
        ge=1,
        description="Minimum height of a tracked face, pixels of the displayed frame.",
    )


class Analysis(SettingsGroup):
    """Analysis: windows, smoothing and inference."""

    window_frames: int = Field(
        default=300, ge=2, le=3000, description="Frames per window of the fusion model."
    )
    hop_frames: int = Field(
        default=200,
        ge=1,
        le=3000,
        description="Frames between the starts of consecutive windows, at most window_frames.",
    )
    smoothing_seconds: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="Standard deviation of the Gaussian that smooths the estimates, seconds; "
        "0: no smoothing; unset: the model's own.",
    )
    models: str = Field(
        default="expression",
        pattern=rf"^{_MODEL}([ ,]+{_MODEL})*$",
        description="Names of the models that are served, separated by commas; they are exported "
        "in model_repository. NAME@VERSION pins a version; NAME is its current one.",
    )
    default_model: str = Field(
        default="",
        pattern=rf"^({_MODEL})?$",
        description="Model of jobs and streams that choose none; unset: the first of `models`.",
    )

    triton_timeout_seconds: float = Field(
        default=120.0, gt=0, description="Time-out of one inference request, seconds."
    )
    triton_shared_memory: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Send large inputs to Triton through shared memory; auto: if Triton is on "
        "loopback and can open it.",
    )
    chunks_in_flight: int = Field(
        default=3,
        ge=1,
        le=32,
        description="Maximum number of chunks of one clip in flight to the backbones.",
    )

    @property
    def served_models(self) -> tuple[str, ...]:
        """The models that are served, each NAME or NAME@VERSION, in order.

        Those of `models`, then the version of `default_model` if that is pinned.
        """
        default = [self.default_model] if "@" in self.default_model else []
        return tuple(dict.fromkeys([*self._listed_models, *default]))

    @property
    def _listed_models(self) -> tuple[str, ...]:
        return tuple(self.models.replace(",", " ").split())

    @property
    def chosen_model(self) -> str:
        """The model of jobs and streams that choose none."""
        return self.default_model or self.served_models[0]

    def serving_only(self, model: str) -> Self:
        """Return settings with one model alone, NAME or NAME@VERSION."""
        return self.model_copy(update={"models": model, "default_model": ""})

    @model_validator(mode="after")
    def _check_default_model(self) -> Self:
        names = {each.partition("@")[0] for each in self._listed_models}
        if self.default_model and self.default_model.partition("@")[0] not in names:
            raise ValueError("default_model must be one of models")
        return self

    @model_validator(mode="after")
    def _check_hop(self) -> Self:
        if self.hop_frames > self.window_frames:
            raise ValueError("hop_frames must not exceed window_frames")
        return self
