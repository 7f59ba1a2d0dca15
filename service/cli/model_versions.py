"""`circumplex models load|use|unload`: versions of models in a running Triton, without a stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer
from prometheus_client import CollectorRegistry

from service.cli.console import exit_on_error, load_settings, print_status, stop_on_signals
from service.domain.estimator import EstimatorChoice, EstimatorId, EstimatorManifest
from service.errors import (
    CircumplexError,
    InferenceUnavailable,
    ModelChanged,
    ModelInUse,
    ModelNotServed,
)
from service.estimators.repository import EstimatorRepository
from service.estimators.verification import FileVerifier
from service.jobs.queue.job_queue import JobQueue
from service.pipeline.verification import EstimatorVerifier
from service.settings import Settings
from service.streaming.resume.checkpoint_store import CheckpointStore
from service.telemetry.metrics import Metrics
from service.triton.client import TritonConnection, connect_triton

ModelArgument = Annotated[str, typer.Argument(help="NAME@VERSION.", metavar="MODEL")]
Operation = Callable[[Settings, EstimatorRepository, EstimatorId], Coroutine[Any, Any, None]]


def load(model: ModelArgument) -> None:
    """Load a version into Triton beside those that it serves, and verify it."""
    _run(model, _load)


def use(
    model: ModelArgument,
    offline: Annotated[
        bool, typer.Option("--offline", help="For the next start: no Triton runs now.")
    ] = False,
) -> None:
    """Make a version the current one of its name, loading it if need be.

    New jobs and streams take it at once; those accepted before keep theirs. Going back is the same
    command with the former version.
    """
    _run(model, _use_offline if offline else _use)


def unload(
    model: ModelArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Even if jobs or streams use it: they fail.")
    ] = False,
) -> None:
    """Unload a version that is not current and that no job or stream uses any more."""
    _run(model, _unload_by_force if force else _unload)


def _run(model: str, operation: Operation) -> None:
    """Run an operation on an exported version; one at a time on this machine."""
    try:
        estimator = EstimatorId.parse(model)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    stop_on_signals()
    with exit_on_error():
        settings = load_settings()
        repository = EstimatorRepository(settings.model_repository)
        with repository.locked():
            asyncio.run(operation(settings, repository, estimator))


async def _load(
    settings: Settings, repository: EstimatorRepository, estimator: EstimatorId
) -> None:
    manifest = repository.read_manifest(estimator)
    FileVerifier(repository).verify(manifest)
    async with connect_triton(settings, Metrics(CollectorRegistry())) as triton:
        print_status(f"{manifest.id} is being loaded ...")
        await triton.control.load(manifest)
        await _verify(repository, triton, manifest)
    print_status(f"{manifest.id} is loaded, warm and verified")


async def _verify(
    repository: EstimatorRepository, triton: TritonConnection, manifest: EstimatorManifest
) -> None:
    """Verify what Triton has loaded; another file that it had loaded before is replaced."""
    verifier = EstimatorVerifier(repository, triton)
    try:
        await verifier.verify(manifest, max_age_seconds=0.0)
    except ModelChanged as error:
        print_status(f"{error.detail}; it is loaded anew ...")
        await triton.control.unload(manifest.id)
        await triton.control.load(manifest)
        await verifier.verify(manifest, max_age_seconds=0.0)


async def _use(settings: Settings, repository: EstimatorRepository, estimator: EstimatorId) -> None:
    try:
        await _load(settings, repository, estimator)
    except InferenceUnavailable as error:
        raise InferenceUnavailable(
            f"{error.detail}; `--offline` sets the version for Triton's next start"
        ) from error
    _set_current(settings, repository, estimator)


async def _use_offline(
    settings: Settings, repository: EstimatorRepository, estimator: EstimatorId
) -> None:
    FileVerifier(repository).verify(repository.read_manifest(estimator))
    _set_current(settings, repository, estimator)


def _set_current(
    settings: Settings, repository: EstimatorRepository, estimator: EstimatorId
) -> None:
    name = estimator.name
    try:
        former = repository.resolve(EstimatorChoice(name))
    except ModelNotServed:  # the current one is gone
        former = estimator
    repository.set_current(estimator)
    back = "" if former == estimator else f"; `circumplex models use {former}` goes back"
    print_status(f"{estimator} is the current version of {name}{back}")
    served: dict[str, EstimatorChoice] = {}
    for each in map(EstimatorChoice.parse, settings.served_models):
        served.setdefault(each.name, each)
    if name not in served:
        print_status(f"{name} is not in CIRCUMPLEX_MODELS ({settings.models}): it is not served")
    elif (pinned := served[name].version) not in (None, estimator.version):
        print_status(f"CIRCUMPLEX_MODELS pins {name}@{pinned}, which goes before")


async def _unload(
    settings: Settings, repository: EstimatorRepository, estimator: EstimatorId
) -> None:
    _require_not_current(settings, repository, estimator)
    if users := await _list_users(settings, estimator):
        raise ModelInUse(
            f"{estimator} is used by {' and '.join(users)}; wait until they have ended, or use "
            "--force, with which they fail"
        )
    await _unload_by_force(settings, repository, estimator)


async def _unload_by_force(
    settings: Settings, repository: EstimatorRepository, estimator: EstimatorId
) -> None:
    _require_not_current(settings, repository, estimator)
    async with connect_triton(settings, Metrics(CollectorRegistry())) as triton:
        was_ready = await triton.control.unload(estimator)
    if estimator in repository.list_ids():
        print_status(f"{estimator} is unloaded; its files stay")
    elif was_ready:
        print_status(f"{estimator} is unloaded; its files were removed before")
    else:
        raise ModelNotServed(f"{estimator} is neither exported nor loaded")


def _require_not_current(
    settings: Settings, repository: EstimatorRepository, estimator: EstimatorId
) -> None:
    """Raise ModelInUse if new jobs and streams get this version."""
    served = map(EstimatorChoice.parse, settings.served_models)
    if EstimatorChoice(estimator.name, estimator.version) in served:
        raise ModelInUse(f"{estimator} is pinned by CIRCUMPLEX_MODELS")
    try:
        current = repository.resolve(EstimatorChoice(estimator.name))
    except CircumplexError:
        return
    if current == estimator:
        raise ModelInUse(
            f"{estimator} is the current version of {estimator.name}: make another one current "
            "first (`circumplex models use`)"
        )


async def _list_users(settings: Settings, estimator: EstimatorId) -> list[str]:
    """Describe the jobs and streams that use a version."""
    async with JobQueue.open(settings) as queue, CheckpointStore.open(settings) as streams:
        jobs = (await queue.count_open_by_model())[str(estimator)]
        running = (await streams.count_by_model())[str(estimator)]
    users: list[str] = []
    if jobs:
        users.append(f"{jobs} queued or running jobs")
    if running:
        minutes = settings.stream_resume_seconds / 60
        users.append(f"{running} streams (those that end can be resumed for {minutes:.0f} min)")
    return users
