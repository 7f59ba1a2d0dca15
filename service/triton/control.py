"""Model control of Triton: loads and unloads the models of an estimator."""

from __future__ import annotations

import asyncio
from typing import Final

from tritonclient.grpc.aio import InferenceServerClient

from service.domain.estimator import EstimatorId, EstimatorManifest
from service.domain.model_signatures import SERVED_MODELS, VALENCE_AROUSAL
from service.errors import InferenceFailed, ModelNotServed
from service.triton.requests import triton_errors_translated

_LOAD_SECONDS: Final = 600.0
"""Timeout of loading and warming one model."""
_UNLOAD_SECONDS: Final = 60.0


class ModelControl:
    """Loads and unloads; needs a Triton with explicit model control."""

    def __init__(self, client: InferenceServerClient) -> None:
        self._client = client

    async def load(self, manifest: EstimatorManifest) -> None:
        """Load every model and wait until it is warm; an unchanged one that is loaded stays so.

        The ensemble comes last, since it needs its parts. Interrupted, it leaves some models loaded
        that nobody uses; called again, it loads the others.

        Raises: ModelNotServed: Triton cannot load it; InferenceUnavailable.
        """
        parts = [manifest.id.part_name(slot.name) for slot in manifest.exported_slots]
        await asyncio.gather(*map(self._load, parts))
        await self._load(manifest.id.part_name(VALENCE_AROUSAL.name))

    async def unload(self, estimator: EstimatorId) -> bool:
        """Unload every model, the ensemble first; those that are not loaded are no error.

        Requests that Triton has begun are finished. Its files need not exist any more.

        Returns: whether a model was ready. Raises: InferenceUnavailable, InferenceFailed.
        """
        was_ready = False
        for slot in reversed(SERVED_MODELS):
            part = estimator.part_name(slot.name)
            with triton_errors_translated():
                if await self._client.is_model_ready(part, client_timeout=_UNLOAD_SECONDS):
                    was_ready = True
                await self._client.unload_model(part, client_timeout=_UNLOAD_SECONDS)
        return was_ready

    async def _load(self, model: str) -> None:
        try:
            with triton_errors_translated():
                await self._client.load_model(model, client_timeout=_LOAD_SECONDS)
        except InferenceFailed as error:
            raise ModelNotServed(f"Triton cannot load {model}: {error.detail}") from error
