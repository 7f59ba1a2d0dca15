"""Export of a pulled network as an estimator of its entry's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from service.domain.estimator import EstimatorId, EstimatorManifest
from service.errors import ModelNotServed
from service.estimators.repository import EstimatorRepository
from service.model_catalogue.entries import CatalogueEntry
from service.model_catalogue.file_hashes import check_file
from training.export import ExportTarget, hash_weights, write_estimator
from training.pulled.build import build_pulled_facts, build_pulled_models, build_pulled_origin


def export_pulled(entry: CatalogueEntry, file: Path, repository: Path) -> EstimatorManifest:
    """Write the estimator of a catalogue entry, from the file that was pulled.

    The newest version is used again if it has the same weights and facts; otherwise a new one is
    written beside it, which only becomes current by itself if it is the first.

    Raises: ModelFileMissing, ModelFileTooLarge, ModelFileMismatch: it is not the entry's file.
        ImportRefused: it cannot be read, or is of another network.
    """
    hashes = check_file(file, entry)
    models = build_pulled_models(entry, file)
    facts = build_pulled_facts(entry, hashes)
    target = ExportTarget(
        repository=repository,
        estimator=_choose_version(EstimatorRepository(repository), entry.name, models, facts),
    )
    origin = build_pulled_origin(entry, hashes)
    return write_estimator(models, target, origins=dict.fromkeys(models, origin), facts=facts)


def _choose_version(
    repository: EstimatorRepository, name: str, models: dict[str, nn.Module], facts: dict[str, Any]
) -> EstimatorId:
    """Return the newest version if it is this one, otherwise the version after it."""
    following = EstimatorId(name, repository.next_version(name))
    if following.version == 1:
        return following
    newest = EstimatorId(name, following.version - 1)
    try:
        exported = repository.read_manifest(newest)
    except ModelNotServed:
        return following
    is_same = exported.weights_sha256 == {
        slot: hash_weights(model) for slot, model in models.items()
    } and all(exported.document.get(key) == value for key, value in facts.items())
    return newest if is_same else following
