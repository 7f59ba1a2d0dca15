from circumplex.v1 import annotation_pb2 as _annotation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "default_model")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODEL_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    default_model: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., default_model: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model", "versions")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    model: Model
    versions: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., versions: _Optional[_Iterable[str]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("id", "name", "version", "is_current", "is_default", "state", "error", "title", "summary", "domain", "modalities", "preprocessing", "smoothing_seconds", "std_meaning", "classes", "licences", "figures", "weights_sha256", "flags")
    class WeightsSha256Entry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IS_CURRENT_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    SMOOTHING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STD_MEANING_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    LICENCES_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    version: int
    is_current: bool
    is_default: bool
    state: str
    error: ModelError
    title: str
    summary: str
    domain: str
    modalities: _containers.RepeatedScalarFieldContainer[str]
    preprocessing: str
    smoothing_seconds: float
    std_meaning: _annotation_pb2.StdMeaning
    classes: _containers.RepeatedScalarFieldContainer[str]
    licences: ModelLicences
    figures: _containers.RepeatedCompositeFieldContainer[ModelFigure]
    weights_sha256: _containers.ScalarMap[str, str]
    flags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[int] = ..., is_current: _Optional[bool] = ..., is_default: _Optional[bool] = ..., state: _Optional[str] = ..., error: _Optional[_Union[ModelError, _Mapping]] = ..., title: _Optional[str] = ..., summary: _Optional[str] = ..., domain: _Optional[str] = ..., modalities: _Optional[_Iterable[str]] = ..., preprocessing: _Optional[str] = ..., smoothing_seconds: _Optional[float] = ..., std_meaning: _Optional[_Union[_annotation_pb2.StdMeaning, str]] = ..., classes: _Optional[_Iterable[str]] = ..., licences: _Optional[_Union[ModelLicences, _Mapping]] = ..., figures: _Optional[_Iterable[_Union[ModelFigure, _Mapping]]] = ..., weights_sha256: _Optional[_Mapping[str, str]] = ..., flags: _Optional[_Iterable[str]] = ...) -> None: ...

class ModelError(_message.Message):
    __slots__ = ("code", "detail", "retryable")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    code: str
    detail: str
    retryable: bool
    def __init__(self, code: _Optional[str] = ..., detail: _Optional[str] = ..., retryable: _Optional[bool] = ...) -> None: ...

class ModelLicences(_message.Message):
    __slots__ = ("code", "weights", "data")
    CODE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    code: str
    weights: str
    data: str
    def __init__(self, code: _Optional[str] = ..., weights: _Optional[str] = ..., data: _Optional[str] = ...) -> None: ...

class ModelFigure(_message.Message):
    __slots__ = ("metric", "valence", "arousal", "on", "rated_video", "source", "measured_by")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VALENCE_FIELD_NUMBER: _ClassVar[int]
    AROUSAL_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    RATED_VIDEO_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MEASURED_BY_FIELD_NUMBER: _ClassVar[int]
    metric: str
    valence: float
    arousal: float
    on: str
    rated_video: bool
    source: str
    measured_by: str
    def __init__(self, metric: _Optional[str] = ..., valence: _Optional[float] = ..., arousal: _Optional[float] = ..., on: _Optional[str] = ..., rated_video: _Optional[bool] = ..., source: _Optional[str] = ..., measured_by: _Optional[str] = ...) -> None: ...
