"""Triton client: the models of each estimator as functions of arrays."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput, KeepAliveOptions
from tritonclient.grpc.aio import InferenceServerClient

from service.domain.array_types import BoolArray, Float32Array, Int64Array, UInt8Array
from service.domain.estimator import EstimatorManifest
from service.domain.model_signatures import (
    AUDIO_BACKBONE,
    CROP_BYTES,
    FACE_FEATURES,
    FUSION,
    LIVE_FUSION,
    LIVE_VISUAL_BACKBONE,
    LOG_MEL,
    MAX_LIVE_CROPS,
    PATCH_BYTES,
    VISUAL_BACKBONE,
    VOICE_FEATURES,
    ModelSignature,
)
from service.errors import InferenceFailed, InferenceUnavailable
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.triton.control import ModelControl
from service.triton.requests import (
    MODEL_VERSION,
    ModelClient,
    SharedCropMemory,
    SharedMemoryUnavailable,
    Slot,
    build_inputs,
    triton_errors_translated,
)
from service.triton.shared_region import SharedMemoryFull
from service.triton.verification import ServedModelVerifier

_log = logging.getLogger(__name__)

FULL_PAUSE_SECONDS: Final = 10.0
"""Time for which crops are sent over gRPC after shared memory was found full."""
_LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
_READY_TIMEOUT_SECONDS: Final = 2.0
_CHANNEL_OPTIONS: Final = [
    # Triton is a part of the service: a proxy of the environment is not meant for it.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
_KEEPALIVE: Final = KeepAliveOptions(keepalive_time_ms=310_000, keepalive_timeout_ms=20_000)
"""gRPC servers answer pings more frequent than every 300 s with GOAWAY."""


@asynccontextmanager
async def connect_triton(settings: Settings, metrics: Metrics) -> AsyncGenerator[TritonConnection]:
    """Open the client of a process; no I/O before the first call."""
    async with InferenceServerClient(
        settings.triton_url, keepalive_options=_KEEPALIVE, channel_args=_CHANNEL_OPTIONS
    ) as client:
        connection = TritonConnection(
            client,
            model_client=ModelClient(
                client, timeout_seconds=settings.triton_timeout_seconds, metrics=metrics
            ),
            crop_memory=_create_crop_memory(client, settings),
            requires_shared_memory=settings.triton_shared_memory == "on",
        )
        try:
            yield connection
        finally:
            await connection.close()


def _create_crop_memory(
    client: InferenceServerClient, settings: Settings
) -> SharedCropMemory | None:
    host = settings.triton_url.rpartition(":")[0]
    mode = settings.triton_shared_memory
    if mode == "off" or (mode == "auto" and host not in _LOOPBACK_HOSTS):
        return None
    return SharedCropMemory(
        client,
        slot_bytes=settings.chunk_frames * CROP_BYTES,
        # crops and patches of each chunk
        slots=2
        * (settings.worker_concurrency + settings.worker_reserved_slots)
        * settings.chunks_in_flight,
        timeout_seconds=settings.triton_timeout_seconds,
    )


class TritonConnection:
    """Connection to one Triton server; implements the catalog's InferenceServer."""

    def __init__(
        self,
        client: InferenceServerClient,
        *,
        model_client: ModelClient,
        crop_memory: SharedCropMemory | None,
        requires_shared_memory: bool,
    ) -> None:
        self._client = client
        self.model_client = model_client
        self._verifier = ServedModelVerifier(client, model_client)
        self.control = ModelControl(client)
        self._crop_memory = crop_memory
        self._requires_shared_memory = requires_shared_memory
        self._paused_until = 0.0

    @property
    def crop_memory(self) -> SharedCropMemory | None:
        """The shared memory of crops, where it can be used now."""
        return self._crop_memory if time.monotonic() >= self._paused_until else None

    def select(self, manifest: EstimatorManifest) -> TritonInference:
        """Return the models of one estimator."""
        return TritonInference(self, manifest)

    async def find_unready(self, manifest: EstimatorManifest) -> list[str]:
        """Return the names of an estimator's models that are not loaded and warm.

        Raises: InferenceUnavailable: Triton is unreachable or ends.
        """
        names = [manifest.id.part_name(slot.name) for slot in manifest.served_slots]
        with triton_errors_translated():
            ready = await asyncio.gather(
                *(
                    self._client.is_model_ready(
                        name, MODEL_VERSION, client_timeout=_READY_TIMEOUT_SECONDS
                    )
                    for name in names
                )
            )
        return [name for name, is_ready in zip(names, ready, strict=True) if not is_ready]

    async def verify(self, manifest: EstimatorManifest) -> None:
        """Hold what Triton has loaded to a manifest.

        Raises: ModelChanged, InferenceUnavailable, InferenceFailed.
        """
        await self.model_client.run_uncancelled(self._verifier.verify(manifest))

    def disable_shared_memory(self, error: SharedMemoryUnavailable) -> None:
        """Fall back to gRPC: containers on one loopback may not share memory."""
        if self._requires_shared_memory:
            raise InferenceFailed(f"Shared memory is not shared: {error}") from error
        if self._crop_memory is not None:
            _log.warning("shared memory is unavailable, crops are sent over gRPC: %s", error)
        self._crop_memory = None

    def pause_shared_memory(self, error: SharedMemoryFull) -> None:
        """Fall back to gRPC for a time. Raises: InferenceUnavailable: shared memory is required."""
        if self._requires_shared_memory:
            raise InferenceUnavailable(f"Shared memory is full: {error}") from error
        self.model_client.metrics.shared_memory_full_total.inc()
        if self._paused_until < time.monotonic():
            _log.warning("shared memory is full, crops are sent over gRPC: %s", error)
        self._paused_until = time.monotonic() + FULL_PAUSE_SECONDS

    async def close(self) -> None:
        """Wait for running requests, then release the shared memory."""
        await self.model_client.drain()
        if self._crop_memory is not None:
            await self._crop_memory.close()


class TritonInference:
    """Implements the Inference port with the models of one estimator."""

    def __init__(self, connection: TritonConnection, manifest: EstimatorManifest) -> None:
        self._connection = connection
        self._model_client = connection.model_client
        self._estimator = manifest.id
        self._has_voice = manifest.has_voice

    async def embed_faces(self, crops: UInt8Array) -> Float32Array:
        """Embed (N, 3, 112, 112) uint8 crops to (N, 512); few crops use the streams' own model."""
        if not len(crops):
            return np.zeros((0, FACE_FEATURES), np.float32)
        if len(crops) <= MAX_LIVE_CROPS:
            # Shared memory would cost as much, 1.2 ms of a core; of 32 crops 1.5, and gRPC 5.
            return await self._embed_over_grpc(LIVE_VISUAL_BACKBONE, crops)
        faces = await self._work_in_shared_memory(
            crops.nbytes, lambda slot: self._embed_slot(slot, crops)
        )
        if faces is not None:
            return faces
        return await self._embed_over_grpc(VISUAL_BACKBONE, crops)

    async def embed_voice(self, waveform: Float32Array, patch_starts: Int64Array) -> Float32Array:
        """Embed (S,) samples at 16 kHz to (T, 128), by patch starts (T,) in 10 ms hops.

        Zeros where the estimator does not use the voice.
        """
        if not len(patch_starts) or not self._has_voice:
            return np.zeros((len(patch_starts), VOICE_FEATURES), np.float32)
        inputs = build_inputs(LOG_MEL, [waveform, patch_starts])
        if (count := len(patch_starts)) > MAX_LIVE_CROPS:
            voice = await self._work_in_shared_memory(
                count * PATCH_BYTES, lambda slot: self._embed_patches_in_slot(slot, inputs, count)
            )
            if voice is not None:
                return voice
        return await self._model_client.run_uncancelled(self._embed_patches(inputs))

    async def fuse(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        """Fuse (T, 512), (T, 128), (T,) to the folds' mean (T, 2) and spread (T, 2)."""
        mean, spread = await self._model_client.run_uncancelled(
            self._infer(FUSION, build_inputs(FUSION, [visual, audio, mask]))
        )
        return mean, spread

    async def fuse_live(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        """Fuse B windows of T = LIVE_WINDOW_FRAMES frames: (B, T, 512), (B, T, 128), (B, T).

        Returns: the folds' mean (B, T, 2) and spread (B, T, 2).
        """
        mean, spread = await self._model_client.run_uncancelled(
            self._infer(LIVE_FUSION, build_inputs(LIVE_FUSION, [visual, audio, mask]))
        )
        return mean, spread

    async def _infer(
        self,
        model: ModelSignature,
        inputs: list[InferInput],
        outputs: Sequence[InferRequestedOutput] | None = None,
    ) -> list[Float32Array]:
        return await self._model_client.infer(self._estimator, model, inputs, outputs)

    async def _embed_patches(self, inputs: list[InferInput]) -> Float32Array:
        (patches,) = await self._infer(LOG_MEL, inputs)
        (voice,) = await self._infer(AUDIO_BACKBONE, build_inputs(AUDIO_BACKBONE, [patches]))
        return voice

    async def _embed_patches_in_slot(
        self, slot: Slot, inputs: list[InferInput], count: int
    ) -> Float32Array:
        """Embed patches that one model writes to the slot and the other reads there."""
        (written,), (read,) = LOG_MEL.outputs, AUDIO_BACKBONE.inputs
        shape = (count, *written.shape[1:])
        await self._infer(LOG_MEL, inputs, [slot.as_output(written, shape)])
        (voice,) = await self._infer(AUDIO_BACKBONE, [slot.as_input(read, shape)])
        return voice

    async def _embed_over_grpc(self, model: ModelSignature, crops: UInt8Array) -> Float32Array:
        inputs = build_inputs(model, [crops])
        (faces,) = await self._model_client.run_uncancelled(self._infer(model, inputs))
        return faces

    async def _embed_slot(self, slot: Slot, crops: UInt8Array) -> Float32Array:
        slot.write(crops)
        (tensor,) = VISUAL_BACKBONE.inputs
        (faces,) = await self._infer(VISUAL_BACKBONE, [slot.as_input(tensor, crops.shape)])
        return faces

    async def _work_in_shared_memory(
        self, size_bytes: int, work: Callable[[Slot], Awaitable[Float32Array]]
    ) -> Float32Array | None:
        """Do work with a slot of shared memory; None: it cannot be used now."""
        memory = self._connection.crop_memory
        if memory is None or (number := memory.claim(size_bytes)) is None:
            return None
        try:
            return await self._model_client.run_uncancelled(_work_in_slot(memory, number, work))
        except SharedMemoryUnavailable as error:
            self._connection.disable_shared_memory(error)
        except SharedMemoryFull as error:
            self._connection.pause_shared_memory(error)
        return None


async def _work_in_slot(
    memory: SharedCropMemory, number: int, work: Callable[[Slot], Awaitable[Float32Array]]
) -> Float32Array:
    """Do work with a claimed slot; again with a new region where Triton has lost the old one."""
    async with memory.claimed_slot(number) as slot:
        try:
            return await work(slot)
        except InferenceFailed as error:
            if slot.region not in error.detail:
                raise
        return await work(await memory.move_to_new_region(slot))
