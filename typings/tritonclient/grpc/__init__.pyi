from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy.typing as npt

class KeepAliveOptions:
    def __init__(
        self,
        keepalive_time_ms: int = ...,
        keepalive_timeout_ms: int = ...,
        keepalive_permit_without_calls: bool = ...,
        http2_max_pings_without_data: int = ...,
    ) -> None: ...

class InferInput:
    def __init__(self, name: str, shape: Sequence[int], datatype: str) -> None: ...
    def set_data_from_numpy(self, input_tensor: npt.NDArray[Any]) -> InferInput: ...
    def set_shared_memory(
        self, region_name: str, byte_size: int, offset: int = ...
    ) -> InferInput: ...

class InferRequestedOutput:
    def __init__(self, name: str, class_count: int = ...) -> None: ...
    def set_shared_memory(self, region_name: str, byte_size: int, offset: int = ...) -> None: ...

class InferResult:
    def as_numpy(self, name: str) -> npt.NDArray[Any] | None: ...

class StatisticDuration:
    count: int
    ns: int

class InferStatistics:
    success: StatisticDuration

class ModelStatistics:
    execution_count: int
    inference_stats: InferStatistics

class ModelStatisticsResponse:
    model_stats: Sequence[ModelStatistics]

class SystemSharedMemoryStatusResponse:
    regions: Mapping[str, object]

class InferenceServerClient:
    def __init__(
        self, url: str, *, channel_args: Sequence[tuple[str, Any]] | None = ...
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
    def is_server_ready(self, *, client_timeout: float | None = ...) -> bool: ...
    def is_model_ready(self, model_name: str, *, client_timeout: float | None = ...) -> bool: ...
    def load_model(self, model_name: str, *, client_timeout: float | None = ...) -> None: ...
    def unload_model(self, model_name: str, *, client_timeout: float | None = ...) -> None: ...
    def get_inference_statistics(self, model_name: str) -> ModelStatisticsResponse: ...
    def infer(
        self,
        model_name: str,
        inputs: Sequence[InferInput],
        *,
        outputs: Sequence[InferRequestedOutput] | None = ...,
        client_timeout: float | None = ...,
    ) -> InferResult: ...
