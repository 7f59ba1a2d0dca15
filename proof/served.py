"""The clips through a running service: POSTed by the project's own client, several at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from circumplex_client import Client, ClientError, Result

from proof.errors import ClipNotServed, WeightsDiffer
from proof.frames import Doubles, Estimates

IN_FLIGHT: Final = 4
_COMPARED: Final = ("preprocessing_version", "method")


def estimate_served(
    address: str, clips: Sequence[Path], provenance: Mapping[str, Any]
) -> Iterator[Estimates]:
    """Every clip's estimates, in order.

    Raises: ClipNotServed; WeightsDiffer: the service has other weights than the provenance.
    """
    with Client(address) as client, ThreadPoolExecutor(IN_FLIGHT) as threads:
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
            raise WeightsDiffer(f"the service has another {name} than the model repository here")
    for name in _COMPARED:
        if served[name] != exported[name]:
            raise WeightsDiffer(f"the service has another {name}: {served[name]}")


def read_estimates(result: Result) -> Estimates:
    """The raw values of a result, not the smoothed ones."""
    return Estimates(
        index=np.array(result.index, np.int64),
        times=np.array(result.time, np.float64),
        mean=_columns(result.valence, result.arousal),
        spread=_columns(result.valence_std, result.arousal_std),
    )


def _annotate(client: Client, clip: Path) -> Result:
    try:
        return client.annotate(clip)
    except ClientError as error:
        raise ClipNotServed(f"{clip.name}: {error}") from error


def _columns(*columns: Sequence[float | None]) -> Doubles:
    return np.array(columns, np.float64).T
