"""Verification of what Triton has loaded: the configuration that it reports, and a probe."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from tritonclient.grpc.aio import InferenceServerClient

from service.domain.estimator import EstimatorManifest, ModelFile
from service.domain.model_signatures import VALENCE_AROUSAL, ModelSignature
from service.errors import ModelChanged
from service.estimators.probe import (
    CPU_TOLERANCE,
    GPU_TOLERANCE,
    build_probe_inputs,
    measure_deviation,
    summarize_outputs,
)
from service.triton.requests import ModelClient, build_inputs, triton_errors_translated

_CONFIG_TIMEOUT_SECONDS: Final = 5.0
_KIND_CPU: Final = 2
"""Kind of an instance group, as Triton's model_config.proto numbers it."""


class ServedModelVerifier:
    """Holds what Triton serves to the manifest of an estimator."""

    def __init__(self, client: InferenceServerClient, model_client: ModelClient) -> None:
        self._client = client
        self._model_client = model_client

    async def verify(self, manifest: EstimatorManifest) -> None:
        """Compare each model's configuration, then its answer to its probe.

        Raises: ModelChanged, InferenceUnavailable, InferenceFailed.
        """
        await asyncio.gather(*(self._verify_slot(manifest, slot) for slot in manifest.served_slots))

    async def _verify_slot(self, manifest: EstimatorManifest, slot: ModelSignature) -> None:
        name = manifest.id.part_name(slot.name)
        config = await self._read_config(name)
        if slot is VALENCE_AROUSAL:
            _check_ensemble(manifest, config)
            return
        file = manifest.models[slot.name]
        _check_config(name, config, file)
        outputs = await self._model_client.run_probe(
            manifest.id, slot, build_inputs(slot, build_probe_inputs(slot))
        )
        deviation = measure_deviation(file.probe, summarize_outputs(outputs))
        if deviation > _find_tolerance(config):
            raise ModelChanged(
                f"{name} answers its probe otherwise than when it was exported (by {deviation:.2g} "
                f"of the values' size): {_advise(manifest)}"
            )

    async def _read_config(self, name: str) -> Any:
        """Read the ModelConfig message of a model."""
        with triton_errors_translated():
            found: Any = await self._client.get_model_config(
                name, client_timeout=_CONFIG_TIMEOUT_SECONDS
            )
        return found.config


def _check_config(name: str, config: Any, file: ModelFile) -> None:
    """Raise ModelChanged if Triton was told to load another file."""
    loaded: str = config.parameters["FILE_SHA256"].string_value
    file_name: str = config.default_model_filename or "model.pt"
    if loaded != file.file_sha256 or file_name != "model.pt":
        raise ModelChanged(
            f"Triton has loaded {name} from another file ({file_name}, SHA-256 {loaded}) than its "
            "manifest names: load it again, or restart Triton"
        )
    if not file.probe:
        raise ModelChanged(f"the manifest has no probe for {name}: export it again")


def _check_ensemble(manifest: EstimatorManifest, config: Any) -> None:
    """Raise ModelChanged if the ensemble runs models of another estimator."""
    own = {manifest.id.part_name(slot.name) for slot in manifest.exported_slots}
    used: set[str] = {step.model_name for step in config.ensemble_scheduling.step}
    if not used or not used <= own:
        name = manifest.id.part_name(VALENCE_AROUSAL.name)
        raise ModelChanged(f"{name} runs {', '.join(sorted(used - own))}: {_advise(manifest)}")


def _find_tolerance(config: Any) -> float:
    is_cpu = all(group.kind == _KIND_CPU for group in config.instance_group)
    return CPU_TOLERANCE if is_cpu else GPU_TOLERANCE


def _advise(manifest: EstimatorManifest) -> str:
    return f"restore the files of {manifest.id}, then load it again or restart Triton"
