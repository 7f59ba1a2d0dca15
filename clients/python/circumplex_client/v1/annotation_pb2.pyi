from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StdMeaning(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STD_MEANING_UNSPECIFIED: _ClassVar[StdMeaning]
    STD_MEANING_CALIBRATED: _ClassVar[StdMeaning]
    STD_MEANING_DISAGREEMENT: _ClassVar[StdMeaning]
    STD_MEANING_PUBLISHED_ERROR: _ClassVar[StdMeaning]

class Faces(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FACES_UNSPECIFIED: _ClassVar[Faces]
    FACES_PRIMARY: _ClassVar[Faces]
    FACES_ALL: _ClassVar[Faces]

class OverloadPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OVERLOAD_POLICY_UNSPECIFIED: _ClassVar[OverloadPolicy]
    OVERLOAD_POLICY_BLOCK: _ClassVar[OverloadPolicy]
    OVERLOAD_POLICY_DROP_OLDEST: _ClassVar[OverloadPolicy]
    OVERLOAD_POLICY_FAIL: _ClassVar[OverloadPolicy]

class FrameEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRAME_ENCODING_UNSPECIFIED: _ClassVar[FrameEncoding]
    FRAME_ENCODING_JPEG: _ClassVar[FrameEncoding]
    FRAME_ENCODING_RGB24: _ClassVar[FrameEncoding]
    FRAME_ENCODING_FACE_CROP: _ClassVar[FrameEncoding]

class SampleEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAMPLE_ENCODING_UNSPECIFIED: _ClassVar[SampleEncoding]
    SAMPLE_ENCODING_S16LE: _ClassVar[SampleEncoding]
    SAMPLE_ENCODING_F32LE: _ClassVar[SampleEncoding]

class MissingReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MISSING_REASON_UNSPECIFIED: _ClassVar[MissingReason]
    MISSING_REASON_FACE_NOT_FOUND: _ClassVar[MissingReason]

class DropReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DROP_REASON_UNSPECIFIED: _ClassVar[DropReason]
    DROP_REASON_OVERLOAD: _ClassVar[DropReason]
    DROP_REASON_UNREADABLE: _ClassVar[DropReason]
STD_MEANING_UNSPECIFIED: StdMeaning
STD_MEANING_CALIBRATED: StdMeaning
STD_MEANING_DISAGREEMENT: StdMeaning
STD_MEANING_PUBLISHED_ERROR: StdMeaning
FACES_UNSPECIFIED: Faces
FACES_PRIMARY: Faces
FACES_ALL: Faces
OVERLOAD_POLICY_UNSPECIFIED: OverloadPolicy
OVERLOAD_POLICY_BLOCK: OverloadPolicy
OVERLOAD_POLICY_DROP_OLDEST: OverloadPolicy
OVERLOAD_POLICY_FAIL: OverloadPolicy
FRAME_ENCODING_UNSPECIFIED: FrameEncoding
FRAME_ENCODING_JPEG: FrameEncoding
FRAME_ENCODING_RGB24: FrameEncoding
FRAME_ENCODING_FACE_CROP: FrameEncoding
SAMPLE_ENCODING_UNSPECIFIED: SampleEncoding
SAMPLE_ENCODING_S16LE: SampleEncoding
SAMPLE_ENCODING_F32LE: SampleEncoding
MISSING_REASON_UNSPECIFIED: MissingReason
MISSING_REASON_FACE_NOT_FOUND: MissingReason
DROP_REASON_UNSPECIFIED: DropReason
DROP_REASON_OVERLOAD: DropReason
DROP_REASON_UNREADABLE: DropReason

class StreamingAnnotateRequest(_message.Message):
    __slots__ = ("config", "container", "frame", "audio")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    config: StreamConfig
    container: ContainerChunk
    frame: VideoFrame
    audio: AudioChunk
    def __init__(self, config: _Optional[_Union[StreamConfig, _Mapping]] = ..., container: _Optional[_Union[ContainerChunk, _Mapping]] = ..., frame: _Optional[_Union[VideoFrame, _Mapping]] = ..., audio: _Optional[_Union[AudioChunk, _Mapping]] = ...) -> None: ...

class StreamingAnnotateResponse(_message.Message):
    __slots__ = ("config_ack", "frame_result", "frames_dropped", "media_released", "draining", "summary")
    CONFIG_ACK_FIELD_NUMBER: _ClassVar[int]
    FRAME_RESULT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_DROPPED_FIELD_NUMBER: _ClassVar[int]
    MEDIA_RELEASED_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    config_ack: ConfigAck
    frame_result: FrameResult
    frames_dropped: FramesDropped
    media_released: MediaReleased
    draining: Draining
    summary: StreamSummary
    def __init__(self, config_ack: _Optional[_Union[ConfigAck, _Mapping]] = ..., frame_result: _Optional[_Union[FrameResult, _Mapping]] = ..., frames_dropped: _Optional[_Union[FramesDropped, _Mapping]] = ..., media_released: _Optional[_Union[MediaReleased, _Mapping]] = ..., draining: _Optional[_Union[Draining, _Mapping]] = ..., summary: _Optional[_Union[StreamSummary, _Mapping]] = ...) -> None: ...

class StreamConfig(_message.Message):
    __slots__ = ("container", "frames", "faces", "overload_policy", "final_results_only", "resume_token", "model")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    OVERLOAD_POLICY_FIELD_NUMBER: _ClassVar[int]
    FINAL_RESULTS_ONLY_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    container: ContainerMedia
    frames: FrameMedia
    faces: Faces
    overload_policy: OverloadPolicy
    final_results_only: bool
    resume_token: str
    model: str
    def __init__(self, container: _Optional[_Union[ContainerMedia, _Mapping]] = ..., frames: _Optional[_Union[FrameMedia, _Mapping]] = ..., faces: _Optional[_Union[Faces, str]] = ..., overload_policy: _Optional[_Union[OverloadPolicy, str]] = ..., final_results_only: _Optional[bool] = ..., resume_token: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class ContainerMedia(_message.Message):
    __slots__ = ("video_stream", "audio_stream")
    VIDEO_STREAM_FIELD_NUMBER: _ClassVar[int]
    AUDIO_STREAM_FIELD_NUMBER: _ClassVar[int]
    video_stream: int
    audio_stream: int
    def __init__(self, video_stream: _Optional[int] = ..., audio_stream: _Optional[int] = ...) -> None: ...

class FrameMedia(_message.Message):
    __slots__ = ("encoding", "width", "height", "audio")
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    encoding: FrameEncoding
    width: int
    height: int
    audio: AudioFormat
    def __init__(self, encoding: _Optional[_Union[FrameEncoding, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., audio: _Optional[_Union[AudioFormat, _Mapping]] = ...) -> None: ...

class AudioFormat(_message.Message):
    __slots__ = ("encoding", "sample_rate_hz", "channels")
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    encoding: SampleEncoding
    sample_rate_hz: int
    channels: int
    def __init__(self, encoding: _Optional[_Union[SampleEncoding, str]] = ..., sample_rate_hz: _Optional[int] = ..., channels: _Optional[int] = ...) -> None: ...

class ContainerChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class VideoFrame(_message.Message):
    __slots__ = ("time_seconds", "data")
    TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    time_seconds: float
    data: bytes
    def __init__(self, time_seconds: _Optional[float] = ..., data: _Optional[bytes] = ...) -> None: ...

class AudioChunk(_message.Message):
    __slots__ = ("data", "time_seconds")
    DATA_FIELD_NUMBER: _ClassVar[int]
    TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    time_seconds: float
    def __init__(self, data: _Optional[bytes] = ..., time_seconds: _Optional[float] = ...) -> None: ...

class ConfigAck(_message.Message):
    __slots__ = ("stream_id", "limits", "send_from", "next_final_index", "weights_sha256", "std_meaning", "model", "domain", "flags", "classes", "model_summary")
    class WeightsSha256Entry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    SEND_FROM_FIELD_NUMBER: _ClassVar[int]
    NEXT_FINAL_INDEX_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    STD_MEANING_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MODEL_SUMMARY_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    limits: Limits
    send_from: MediaPosition
    next_final_index: int
    weights_sha256: _containers.ScalarMap[str, str]
    std_meaning: StdMeaning
    model: str
    domain: str
    flags: _containers.RepeatedScalarFieldContainer[str]
    classes: _containers.RepeatedScalarFieldContainer[str]
    model_summary: str
    def __init__(self, stream_id: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., send_from: _Optional[_Union[MediaPosition, _Mapping]] = ..., next_final_index: _Optional[int] = ..., weights_sha256: _Optional[_Mapping[str, str]] = ..., std_meaning: _Optional[_Union[StdMeaning, str]] = ..., model: _Optional[str] = ..., domain: _Optional[str] = ..., flags: _Optional[_Iterable[str]] = ..., classes: _Optional[_Iterable[str]] = ..., model_summary: _Optional[str] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("message_bytes", "frame_pixels", "stream_seconds", "buffered_results", "waiting_frames", "resume_seconds")
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAME_PIXELS_FIELD_NUMBER: _ClassVar[int]
    STREAM_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BUFFERED_RESULTS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FRAMES_FIELD_NUMBER: _ClassVar[int]
    RESUME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    message_bytes: int
    frame_pixels: int
    stream_seconds: float
    buffered_results: int
    waiting_frames: int
    resume_seconds: float
    def __init__(self, message_bytes: _Optional[int] = ..., frame_pixels: _Optional[int] = ..., stream_seconds: _Optional[float] = ..., buffered_results: _Optional[int] = ..., waiting_frames: _Optional[int] = ..., resume_seconds: _Optional[float] = ...) -> None: ...

class MediaPosition(_message.Message):
    __slots__ = ("container_bytes", "frames", "audio_samples")
    CONTAINER_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    container_bytes: int
    frames: int
    audio_samples: int
    def __init__(self, container_bytes: _Optional[int] = ..., frames: _Optional[int] = ..., audio_samples: _Optional[int] = ...) -> None: ...

class FrameResult(_message.Message):
    __slots__ = ("index", "time_seconds", "is_final", "tracks", "missing_reason", "resume_token")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    IS_FINAL_FIELD_NUMBER: _ClassVar[int]
    TRACKS_FIELD_NUMBER: _ClassVar[int]
    MISSING_REASON_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    index: int
    time_seconds: float
    is_final: bool
    tracks: _containers.RepeatedCompositeFieldContainer[TrackResult]
    missing_reason: MissingReason
    resume_token: str
    def __init__(self, index: _Optional[int] = ..., time_seconds: _Optional[float] = ..., is_final: _Optional[bool] = ..., tracks: _Optional[_Iterable[_Union[TrackResult, _Mapping]]] = ..., missing_reason: _Optional[_Union[MissingReason, str]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class TrackResult(_message.Message):
    __slots__ = ("track", "box", "missing_reason", "estimate", "class_probabilities")
    TRACK_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    MISSING_REASON_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    CLASS_PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    track: int
    box: Box
    missing_reason: MissingReason
    estimate: Estimate
    class_probabilities: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, track: _Optional[int] = ..., box: _Optional[_Union[Box, _Mapping]] = ..., missing_reason: _Optional[_Union[MissingReason, str]] = ..., estimate: _Optional[_Union[Estimate, _Mapping]] = ..., class_probabilities: _Optional[_Iterable[float]] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("left", "top", "width", "height", "score")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    width: float
    height: float
    score: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ..., score: _Optional[float] = ...) -> None: ...

class Estimate(_message.Message):
    __slots__ = ("valence", "arousal", "valence_std", "arousal_std", "valence_smoothed", "arousal_smoothed")
    VALENCE_FIELD_NUMBER: _ClassVar[int]
    AROUSAL_FIELD_NUMBER: _ClassVar[int]
    VALENCE_STD_FIELD_NUMBER: _ClassVar[int]
    AROUSAL_STD_FIELD_NUMBER: _ClassVar[int]
    VALENCE_SMOOTHED_FIELD_NUMBER: _ClassVar[int]
    AROUSAL_SMOOTHED_FIELD_NUMBER: _ClassVar[int]
    valence: float
    arousal: float
    valence_std: float
    arousal_std: float
    valence_smoothed: float
    arousal_smoothed: float
    def __init__(self, valence: _Optional[float] = ..., arousal: _Optional[float] = ..., valence_std: _Optional[float] = ..., arousal_std: _Optional[float] = ..., valence_smoothed: _Optional[float] = ..., arousal_smoothed: _Optional[float] = ...) -> None: ...

class FramesDropped(_message.Message):
    __slots__ = ("first_index", "count", "reason", "time_seconds")
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    first_index: int
    count: int
    reason: DropReason
    time_seconds: float
    def __init__(self, first_index: _Optional[int] = ..., count: _Optional[int] = ..., reason: _Optional[_Union[DropReason, str]] = ..., time_seconds: _Optional[float] = ...) -> None: ...

class MediaReleased(_message.Message):
    __slots__ = ("until",)
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    until: MediaPosition
    def __init__(self, until: _Optional[_Union[MediaPosition, _Mapping]] = ...) -> None: ...

class Draining(_message.Message):
    __slots__ = ("resume_token",)
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    resume_token: str
    def __init__(self, resume_token: _Optional[str] = ...) -> None: ...

class StreamSummary(_message.Message):
    __slots__ = ("frames", "frames_dropped", "primary_track", "dropped_tracks", "flags", "latency", "modalities_used")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    FRAMES_DROPPED_FIELD_NUMBER: _ClassVar[int]
    PRIMARY_TRACK_FIELD_NUMBER: _ClassVar[int]
    DROPPED_TRACKS_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_USED_FIELD_NUMBER: _ClassVar[int]
    frames: int
    frames_dropped: int
    primary_track: int
    dropped_tracks: _containers.RepeatedScalarFieldContainer[int]
    flags: _containers.RepeatedScalarFieldContainer[str]
    latency: LatencySummary
    modalities_used: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, frames: _Optional[int] = ..., frames_dropped: _Optional[int] = ..., primary_track: _Optional[int] = ..., dropped_tracks: _Optional[_Iterable[int]] = ..., flags: _Optional[_Iterable[str]] = ..., latency: _Optional[_Union[LatencySummary, _Mapping]] = ..., modalities_used: _Optional[_Iterable[str]] = ...) -> None: ...

class LatencySummary(_message.Message):
    __slots__ = ("p50_seconds", "p95_seconds", "p99_seconds")
    P50_SECONDS_FIELD_NUMBER: _ClassVar[int]
    P95_SECONDS_FIELD_NUMBER: _ClassVar[int]
    P99_SECONDS_FIELD_NUMBER: _ClassVar[int]
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    def __init__(self, p50_seconds: _Optional[float] = ..., p95_seconds: _Optional[float] = ..., p99_seconds: _Optional[float] = ...) -> None: ...
