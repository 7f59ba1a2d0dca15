"""The served models as functions of arrays."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import numpy as np
from tritonclient.grpc import InferInput, KeepAliveOptions
from tritonclient.grpc.aio import InferenceServerClient

from service.domain.array_types import BoolArray, Float32Array, Int64Array, UInt8Array
from service.domain.model_signatures import (
    AUDIO_BACKBONE,
    CROP_SIDE,
    FACE_FEATURES,
    FUSION,
    LIVE_FUSION,
    LIVE_VISUAL_BACKBONE,
    LOG_MEL,
    MAX_LIVE_CROPS,
    SERVED_MODELS,
    VISUAL_BACKBONE,
    VOICE_FEATURES,
    ModelSignature,
)
from service.errors import InferenceFailed, InferenceUnavailable
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.triton.requests import ModelClient, build_inputs, triton_errors_translated
from service.triton.shared_memory import SharedCropMemory, SharedMemoryUnavailable

_log = logging.getLogger(__name__)

_LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
_READY_TIMEOUT_SECONDS: Final = 2.0
_CHANNEL_OPTIONS: Final = [
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
_KEEPALIVE: Final = KeepAliveOptions(keepalive_time_ms=310_000, keepalive_timeout_ms=20_000)
"""Slower than the 300 s below which a gRPC server answers with GOAWAY."""


@asynccontextmanager
async def connect_triton(settings: Settings, metrics: Metrics) -> AsyncGenerator[TritonInference]:
    """The one client of a process; nothing is sent before the first call."""
    async with InferenceServerClient(
        settings.triton_url, keepalive_options=_KEEPALIVE, channel_args=_CHANNEL_OPTIONS
    ) as client:
        inference = TritonInference(
            client,
            model_client=ModelClient(
                client, timeout_seconds=settings.triton_timeout_seconds, metrics=metrics
            ),
            crop_memory=_create_crop_memory(client, settings),
            requires_shared_memory=settings.triton_shared_memory == "on",
        )
        try:
            yield inference
        finally:
            await inference.close()


def _create_crop_memory(
    client: InferenceServerClient, settings: Settings
) -> SharedCropMemory | None:
    host = settings.triton_url.rpartition(":")[0]
    mode = settings.triton_shared_memory
    if mode == "off" or (mode == "auto" and host not in _LOOPBACK_HOSTS):
        return None
    return SharedCropMemory(
        client,
        slot_bytes=settings.chunk_frames * 3 * CROP_SIDE * CROP_SIDE,
        slots=settings.worker_concurrency * settings.chunks_in_flight,
        timeout_seconds=settings.triton_timeout_seconds,
    )


class TritonInference:
    """Satisfies the Inference port against one Triton server."""

    def __init__(
        self,
        client: InferenceServerClient,
        *,
        model_client: ModelClient,
        crop_memory: SharedCropMemory | None,
        requires_shared_memory: bool,
    ) -> None:
        self._client = client
        self._model_client = model_client
        self._crop_memory = crop_memory
        self._requires_shared_memory = requires_shared_memory

    async def embed_faces(self, crops: UInt8Array) -> Float32Array:
        """(N, 3, 112, 112) uint8 to (N, 512); a few crops do not queue behind the many of clips."""
        if not len(crops):
            return np.zeros((0, FACE_FEATURES), np.float32)
        if len(crops) <= MAX_LIVE_CROPS:
            # Shared memory would cost as much, 1.2 ms of a core; of 32 crops 1.5, and gRPC 5.
            return await self._embed_over_grpc(LIVE_VISUAL_BACKBONE, crops)
        memory = self._crop_memory
        if memory is not None and (number := memory.claim(crops)) is not None:
            try:
                return await self._model_client.run_uncancelled(
                    self._embed_over_shared_memory(memory, number, crops)
                )
            except SharedMemoryUnavailable as error:
                self._disable_shared_memory(error)
        return await self._embed_over_grpc(VISUAL_BACKBONE, crops)

    async def embed_voice(self, waveform: Float32Array, patch_starts: Int64Array) -> Float32Array:
        """(S,) at 16 kHz and (T,) 10 ms hops to (T, 128)."""
        if not len(patch_starts):
            return np.zeros((0, VOICE_FEATURES), np.float32)
        return await self._model_client.run_uncancelled(self._embed_patches(waveform, patch_starts))

    async def fuse(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        """(T, 512), (T, 128), (T,) to the folds' mean (T, 2) and spread (T, 2)."""
        inputs = build_inputs(FUSION, [visual, audio, mask])
        mean, spread = await self._model_client.run_uncancelled(
            self._model_client.infer(FUSION, inputs)
        )
        return mean, spread

    async def fuse_live(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        """(B, LIVE_FRAMES, 512), (B, LIVE_FRAMES, 128), (B, LIVE_FRAMES) to (B, LIVE_FRAMES, 2)."""
        inputs = build_inputs(LIVE_FUSION, [visual, audio, mask])
        mean, spread = await self._model_client.run_uncancelled(
            self._model_client.infer(LIVE_FUSION, inputs)
        )
        return mean, spread

    async def is_ready(self) -> bool:
        """Whether every model is loaded and warm; False where Triton is away."""
        try:
            with triton_errors_translated():
                answers = await asyncio.gather(
                    *(
                        self._client.is_model_ready(
                            model.name, client_timeout=_READY_TIMEOUT_SECONDS
                        )
                        for model in SERVED_MODELS
                    )
                )
        except (InferenceUnavailable, InferenceFailed):
            return False
        return all(answers)

    async def close(self) -> None:
        """Wait for what still runs, then give the shared memory back."""
        await self._model_client.drain()
        if self._crop_memory is not None:
            await self._crop_memory.close()

    def _disable_shared_memory(self, error: SharedMemoryUnavailable) -> None:
        """Loopback does not mean one machine: containers may share a network and nothing else."""
        if self._requires_shared_memory:
            raise InferenceFailed(f"Shared memory is not shared: {error}") from error
        if self._crop_memory is not None:
            _log.warning("crops go to Triton through gRPC: %s", error)
        self._crop_memory = None

    async def _embed_patches(
        self, waveform: Float32Array, patch_starts: Int64Array
    ) -> Float32Array:
        (patches,) = await self._model_client.infer(
            LOG_MEL, build_inputs(LOG_MEL, [waveform, patch_starts])
        )
        (voice,) = await self._model_client.infer(
            AUDIO_BACKBONE, build_inputs(AUDIO_BACKBONE, [patches])
        )
        return voice

    async def _embed_over_grpc(self, model: ModelSignature, crops: UInt8Array) -> Float32Array:
        inputs = build_inputs(model, [crops])
        (faces,) = await self._model_client.run_uncancelled(self._model_client.infer(model, inputs))
        return faces

    async def _embed_over_shared_memory(
        self, memory: SharedCropMemory, number: int, crops: UInt8Array
    ) -> Float32Array:
        """Again with a fresh region where Triton has restarted and forgotten the old one."""
        async with memory.filled_slot(number, crops) as slot:
            try:
                return await self._embed_region(slot.region, slot.offset_bytes, crops)
            except InferenceFailed as error:
                if slot.region not in error.detail:
                    raise
            slot = await memory.move_to_new_region(slot, crops)
            return await self._embed_region(slot.region, slot.offset_bytes, crops)

    async def _embed_region(
        self, region: str, offset_bytes: int, crops: UInt8Array
    ) -> Float32Array:
        (tensor,) = VISUAL_BACKBONE.inputs
        given = InferInput(tensor.name, crops.shape, tensor.data_type)
        given.set_shared_memory(region, crops.nbytes, offset_bytes)
        (faces,) = await self._model_client.infer(VISUAL_BACKBONE, [given])
        return faces
