"""The clips through a running service: POSTed by the project's own client, several at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from circumplex_client import Client, ClientError, ClipResult

from e2e_eval.errors import ClipNotAnnotated, WeightsMismatch
from e2e_eval.frame_matching import ClipEstimates, Doubles

MAX_IN_FLIGHT: Final = 4
_COMPARED_KEYS: Final = ("preprocessing_version", "method")


def estimate_served(
    address: str, clips: Sequence[Path], provenance: Mapping[str, Any]
) -> Iterator[ClipEstimates]:
    """Every clip's estimates, in order.

    Raises: ClipNotServed; WeightsDiffer: the service has other weights than the provenance.
    """
    with Client(address) as client, ThreadPoolExecutor(MAX_IN_FLIGHT) as threads:
        work = [threads.submit(_annotate, client, clip) for clip in clips]
        try:
            for each in work:
                result = each.result()
                check_weights(result.provenance, provenance)
                yield read_estimates(result)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def check_weights(served: Mapping[str, Any], exported: Mapping[str, Any]) -> None:
    """Whether a result is of these weights, cut and stitched alike. Raises: WeightsDiffer."""
    for name, model in exported["models"].items():
        if served["models"][name]["weights_sha256"] != model["weights_sha256"]:
            raise WeightsMismatch(f"the service has another {name} than the model repository here")
    for name in _COMPARED_KEYS:
        if served[name] != exported[name]:
            raise WeightsMismatch(f"the service has another {name}: {served[name]}")


def read_estimates(result: ClipResult) -> ClipEstimates:
    """The raw values of a result, not the smoothed ones."""
    return ClipEstimates(
        index=np.array(result.index, np.int64),
        times=np.array(result.time, np.float64),
        mean=_stack_columns(result.valence, result.arousal),
        spread=_stack_columns(result.valence_std, result.arousal_std),
    )


def _annotate(client: Client, clip: Path) -> ClipResult:
    try:
        return client.annotate(clip)
    except ClientError as error:
        raise ClipNotAnnotated(f"{clip.name}: {error}") from error


def _stack_columns(*columns: Sequence[float | None]) -> Doubles:
    return np.array(columns, np.float64).T
