"""Served estimates: clips through a running service with the project's own client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from circumplex_client import Client, ClientError, ClipResult

from e2e_eval.errors import ClipNotAnnotated, WeightsMismatch
from e2e_eval.frame_matching import ClipEstimates
from service.domain.array_types import Float64Array

MAX_IN_FLIGHT: Final = 4
_COMPARED_KEYS: Final = ("preprocessing_version", "method")


def estimate_served(
    address: str, clips: Sequence[Path], provenance: Mapping[str, Any], *, model: str | None = None
) -> Iterator[ClipEstimates]:
    """Estimate every clip, in order, several concurrently, by a model, or the default one.

    Raises: ClipNotAnnotated; WeightsMismatch: the service's weights differ from the provenance.
    """
    with Client(address) as client, ThreadPoolExecutor(MAX_IN_FLIGHT) as threads:
        work = [threads.submit(_annotate, client, clip, model) for clip in clips]
        try:
            for each in work:
                result = each.result()
                check_weights(result.provenance, provenance)
                yield read_estimates(result)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def check_served(address: str, model: str) -> None:
    """Check that a service has the model, before clips are drawn. Raises: WeightsMismatch."""
    with Client(address) as client:
        try:
            client.model(model)
        except ClientError as error:
            raise WeightsMismatch(f"{address} cannot be evaluated: {error}") from error


def check_weights(served: Mapping[str, Any], exported: Mapping[str, Any]) -> None:
    """Check that a result is of these weights, preprocessing and method.

    Raises: WeightsMismatch.
    """
    for name, model in exported["models"].items():
        if served["models"][name]["weights_sha256"] != model["weights_sha256"]:
            raise WeightsMismatch(f"the service has another {name} than the model repository here")
    for name in _COMPARED_KEYS:
        if served[name] != exported[name]:
            raise WeightsMismatch(f"the service has another {name}: {served[name]}")


def read_estimates(result: ClipResult) -> ClipEstimates:
    """Read the unsmoothed values of a result."""
    return ClipEstimates(
        index=np.array(result.index, np.int64),
        times=np.array(result.time, np.float64),
        mean=_stack_columns(result.valence, result.arousal),
        spread=_stack_columns(result.valence_std, result.arousal_std),
    )


def _annotate(client: Client, clip: Path, model: str | None) -> ClipResult:
    try:
        return client.annotate(clip, model=model)
    except ClientError as error:
        raise ClipNotAnnotated(f"{clip.name}: {error}") from error


def _stack_columns(*columns: Sequence[float | None]) -> Float64Array:
    return np.array(columns, np.float64).T
