"""Estimators: named, versioned sets of served models, and the manifest that describes each.

    NAME@VERSION                       id of an estimator, as `expression@1`
    <repository>/NAME@VERSION.json     its manifest
    <repository>/NAME@VERSION.<slot>/  one model of Triton for each of its slots

In the API an estimator is a `model`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter

from service.domain.media import Anomalies, Flag
from service.domain.model_signatures import (
    AUDIO_BACKBONE,
    FACE_FEATURES,
    LOG_MEL,
    SERVED_MODELS,
    VALENCE_AROUSAL,
    ModelSignature,
)
from service.domain.uncertainty import UncertaintyModel

NAME_PATTERN: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
MAX_VERSION: Final = 999_999
CHOICE_PATTERN: Final = re.compile(rf"({NAME_PATTERN.pattern})(?:@([1-9][0-9]{{0,5}}))?")
"""NAME or NAME@VERSION."""
_CLASS_PATTERN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_MAX_QUOTED_LENGTH: Final = 80
"""Letters of a malformed choice in an error."""


class Domain(StrEnum):
    """Pictures that an estimator has learnt from."""

    DRAWN = "drawn"
    """Drawings of a synthetic world."""
    PHOTOGRAPHS = "photographs"
    """Single photographs with classes of expression, mapped to valence and arousal."""
    RECORDINGS = "recordings"
    """Video whose frames people have rated."""


class Modality(StrEnum):
    """Part of a clip that an estimator uses."""

    FACE = "face"
    VOICE = "voice"


@dataclass(frozen=True, slots=True, order=True)
class EstimatorId:
    """Name and version of an estimator."""

    name: str
    version: int

    def __str__(self) -> str:
        """Return the id as text, NAME@VERSION."""
        return f"{self.name}@{self.version}"

    @classmethod
    def parse(cls, text: str) -> EstimatorId:
        """Parse NAME@VERSION; raises ValueError."""
        choice = EstimatorChoice.parse(text)
        if choice.version is None:
            raise ValueError(f"{text!r} has no version: NAME@VERSION is needed")
        return cls(choice.name, choice.version)

    def part_name(self, slot: str) -> str:
        """Return the name of one of its models in Triton."""
        return f"{self}.{slot}"


@dataclass(frozen=True, slots=True)
class EstimatorChoice:
    """Estimator that a client chooses. version: None: the current one."""

    name: str
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> EstimatorChoice:
        """Parse NAME or NAME@VERSION; raises ValueError."""
        found = CHOICE_PATTERN.fullmatch(text)
        if found is None:
            quoted = text[:_MAX_QUOTED_LENGTH]
            raise ValueError(f"{quoted!r} is no model: NAME or NAME@VERSION is needed")
        return cls(found[1], int(found[2]) if found[2] else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Licences:
    """Licences of an estimator; each an identifier, or a sentence."""

    code: str
    weights: str
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured accuracy.

    metric: such as `ccc` or `rmse`. on: the data. rated_video: True for recordings that people
    have rated frame by frame. source: publication or command. measured_by: `publisher` or
    `project` or `user`.
    """

    metric: str
    valence: float | None = None
    arousal: float | None = None
    on: str
    rated_video: bool = False
    source: str
    measured_by: Literal["publisher", "project", "user"] = "publisher"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """Exported file of one slot; weights_sha256 depends on the weights only.

    probe: summary of its answer to `service.estimators.probe`; empty: it cannot be verified on
    the server.
    """

    weights_sha256: str
    file_sha256: str
    parameters: int
    probe: tuple[tuple[float, ...], ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorManifest:
    """Description of one estimator.

    title: one sentence. preprocessing: of the face crops, in words.
    smoothing_seconds: standard deviation of the Gaussian over its estimates.
    calibration: of its standard deviations, see UncertaintyModel.
    classes: names of class probabilities, which are the first values of a face's embedding.
    head_features: number of values of a face's embedding, from the first, that a linear head of
    valence and arousal may use; 0: none is offered.
    models: by slot, those of `model_signatures`. document: the whole file.
    """

    name: str
    version: int
    title: str = ""
    domain: Domain | None
    modalities: tuple[Modality, ...]
    preprocessing: str = ""
    smoothing_seconds: Annotated[float, Field(ge=0, le=10)] = 0.2
    calibration: Mapping[str, Any] = field(default_factory=dict[str, Any])
    classes: Annotated[tuple[str, ...], Field(max_length=FACE_FEATURES)] = ()
    head_features: Annotated[int, Field(ge=0, le=FACE_FEATURES)] = 0
    licences: Licences
    figures: tuple[Figure, ...] = ()
    models: Mapping[str, ModelFile]
    document: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> EstimatorManifest:
        """Parse a manifest; unknown keys are kept in `document`. Raises: ValueError."""
        if not isinstance(document, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # from a file
            raise ValueError("a manifest is a JSON object")
        manifest = _ADAPTER.validate_python({**document, "document": document})
        EstimatorId.parse(str(manifest.id))
        if Modality.FACE not in manifest.modalities:
            raise ValueError("modalities without the face")
        if set(manifest.models) != {each.name for each in manifest.exported_slots}:
            raise ValueError(f"models {', '.join(manifest.models)} do not fit the modalities")
        _check_classes(manifest.classes)
        UncertaintyModel.parse(manifest.calibration)
        return manifest

    @property
    def id(self) -> EstimatorId:
        """Name and version."""
        return EstimatorId(self.name, self.version)

    @property
    def has_voice(self) -> bool:
        """True if it uses the voice; otherwise the voice's features are zeros."""
        return Modality.VOICE in self.modalities

    @property
    def exported_slots(self) -> tuple[ModelSignature, ...]:
        """Signatures of its models that are files."""
        return tuple(each for each in self.served_slots if each is not VALENCE_AROUSAL)

    @property
    def served_slots(self) -> tuple[ModelSignature, ...]:
        """Signatures of all its models, with the ensemble."""
        voice = () if self.has_voice else (LOG_MEL, AUDIO_BACKBONE)
        return tuple(each for each in SERVED_MODELS if each not in voice)

    @property
    def uncertainty(self) -> UncertaintyModel:
        """Calibration of the standard deviations."""
        return UncertaintyModel.parse(self.calibration)

    @property
    def weights_sha256(self) -> dict[str, str]:
        """SHA-256 of the weights, by slot."""
        return {slot: model.weights_sha256 for slot, model in self.models.items()}

    @property
    def flags(self) -> frozenset[Flag]:
        """Caveats of every result."""
        return find_weight_flags(self.domain, self.figures)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Caveats of every result, in words."""
        texts: list[str] = []
        if self.document.get("training") == "untrained":
            texts.append("untrained: the numbers mean nothing")
        elif self.domain is None:
            texts.append("not known what the weights have learnt from")
        return (*texts, *(text for flag, text in _CAVEATS.items() if flag in self.flags))

    def find_used_modalities(
        self, flags: Collection[Flag], anomalies: Anomalies
    ) -> tuple[Modality, ...]:
        """Return the modalities that a clip with these facts was estimated from.

        The voice is one of them if any audio of the clip was read; a clip without a face has none.
        """
        if Flag.NO_FACE in flags:
            return ()
        has_audio = anomalies.audio_first_seconds is not None
        return tuple(each for each in self.modalities if each is Modality.FACE or has_audio)


_ADAPTER: Final = TypeAdapter(EstimatorManifest)
_CAVEATS: Final = {
    Flag.WEIGHTS_SYNTHETIC: "on a real face the numbers mean nothing",
    Flag.WEIGHTS_UNMEASURED: "never measured on rated recordings of people",
}
DOMAIN_TEXTS: Final[Mapping[str | None, str]] = {
    Domain.DRAWN: "learnt from drawings",
    Domain.PHOTOGRAPHS: "learnt from photographs",
    Domain.RECORDINGS: "learnt from rated recordings",
    None: "of unknown origin",
}


def describe_model(
    manifest: EstimatorManifest, modalities_used: Collection[Modality] | None = None
) -> str:
    """One line on an estimator for people: its id, what it has learnt from, and its caveats.

    Args: modalities_used: of one result; None: those that it can use.
    """
    if modalities_used is None:
        used = f"uses {' and '.join(manifest.modalities)}"
    else:
        used = f"used {' and '.join(modalities_used) or 'nothing: no face was found'}"
        if {*modalities_used} == {Modality.FACE} and manifest.has_voice:
            used = "used the face only, for want of audio"
    caveats = f": {'; '.join(manifest.caveats)}" if manifest.caveats else ""
    return f"Model {manifest.id}, {DOMAIN_TEXTS[manifest.domain]}, {used}{caveats}."


def _check_classes(names: tuple[str, ...]) -> None:
    """Raise ValueError unless the names can be columns, each once."""
    malformed = [name for name in names if _CLASS_PATTERN.fullmatch(name) is None]
    if malformed or len({*names}) < len(names) or len(names) > FACE_FEATURES:
        raise ValueError(f"classes {', '.join(names)} are no names of columns")


def find_weight_flags(domain: Domain | None, figures: tuple[Figure, ...]) -> frozenset[Flag]:
    """Caveats of weights: learnt from drawings only, never measured on rated video."""
    flags: set[Flag] = set()
    if domain is Domain.DRAWN:
        flags.add(Flag.WEIGHTS_SYNTHETIC)
    if not any(figure.rated_video for figure in figures):
        flags.add(Flag.WEIGHTS_UNMEASURED)
    return frozenset(flags)
