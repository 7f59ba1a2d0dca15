"""Catalog of estimators: choice, verification, readiness and listing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.domain.estimator import EstimatorId
from service.domain.media import Flag
from service.errors import (
    CircumplexError,
    InferenceUnavailable,
    ModelChanged,
    ModelNotServed,
    ModelsMissing,
    ModelUnknown,
    RequestInvalid,
)
from service.estimators.repository import EstimatorRepository
from service.pipeline.estimators import EstimatorCatalog, read_default_manifest
from service.settings import Settings
from tests.fake_estimators import FakeInferenceServer, make_fake_catalog, write_fake_estimator

MINI_1, MINI_2, OTHER_1 = EstimatorId("mini", 1), EstimatorId("mini", 2), EstimatorId("other", 1)


@pytest.fixture
def server() -> FakeInferenceServer:
    return FakeInferenceServer()


@pytest.fixture
def repository(tmp_path: Path) -> EstimatorRepository:
    """Two versions of `mini`, of which the first is current, `other`, and an unserved `third`."""
    for name, version in (("mini", 1), ("mini", 2), ("other", 1), ("third", 1)):
        write_fake_estimator(tmp_path, name, version)
    repository = EstimatorRepository(tmp_path)
    repository.set_current(MINI_1)
    return repository


def make_settings(repository: EstimatorRepository, **values: Any) -> Settings:
    served: dict[str, Any] = {"models": "mini, other", "model_repository": repository.folder}
    return Settings(**served | values)


@pytest.fixture
def catalog(repository: EstimatorRepository, server: FakeInferenceServer) -> EstimatorCatalog:
    return make_fake_catalog(make_settings(repository), server)


def change_file(repository: EstimatorRepository, estimator: EstimatorId) -> None:
    repository.model_file(estimator, "fusion").write_bytes(b"of another model")


@pytest.mark.parametrize(
    ("model", "estimator"),
    [
        (None, "mini@1"),
        ("mini", "mini@1"),
        ("mini@2", "mini@2"),
        ("other", "other@1"),
        ("other@1", "other@1"),
    ],
)
def test_a_choice_is_resolved_to_a_version(
    catalog: EstimatorCatalog, model: str | None, estimator: str
) -> None:
    assert str(catalog.choose(model)) == estimator


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("", RequestInvalid, "NAME or NAME@VERSION"),
        ("Mini", RequestInvalid, "NAME or NAME@VERSION"),
        ("mini@1.fusion", RequestInvalid, "NAME or NAME@VERSION"),
        ("../mini", RequestInvalid, "NAME or NAME@VERSION"),
        ("third", ModelUnknown, "no model 'third' is served; there are mini, other"),
        ("third@1", ModelUnknown, "no model 'third' is served"),
        ("mini@3", ModelUnknown, "mini@3 is not exported; there are mini@1, mini@2"),
    ],
)
async def test_another_choice_is_a_typed_error(
    catalog: EstimatorCatalog, model: str, error: type[CircumplexError], message: str
) -> None:
    with pytest.raises(error, match=message):
        catalog.choose(model)
    with pytest.raises(error, match=message):
        await catalog.accept(model)


def test_a_malformed_choice_names_its_field(catalog: EstimatorCatalog) -> None:
    with pytest.raises(RequestInvalid) as caught:
        catalog.choose("Mini")
    assert caught.value.field == "model"


@pytest.mark.parametrize(
    ("values", "default"),
    [
        ({"models": "other mini"}, "other@1"),
        ({"default_model": "other"}, "other@1"),
        ({"default_model": "mini@2"}, "mini@2"),
        ({"models": "mini@2"}, "mini@2"),
        ({"models": "mini@2,mini@1"}, "mini@2"),
    ],
)
def test_the_default_is_that_of_the_settings(
    repository: EstimatorRepository, values: dict[str, str], default: str
) -> None:
    settings = make_settings(repository, **values)
    assert str(make_fake_catalog(settings).choose(None)) == default
    assert str(read_default_manifest(settings).id) == default


def test_a_version_pinned_in_the_settings_is_what_its_name_means(
    repository: EstimatorRepository,
) -> None:
    catalog = make_fake_catalog(make_settings(repository, models="mini@2"))
    assert catalog.choose("mini") == MINI_2
    assert catalog.choose("mini@1") == MINI_1


def test_another_current_version_is_seen_at_once_and_what_is_pinned_keeps_its_own(
    catalog: EstimatorCatalog, repository: EstimatorRepository
) -> None:
    pinned = catalog.choose("mini")
    repository.set_current(MINI_2)
    assert (pinned, catalog.choose("mini")) == (MINI_1, MINI_2)


async def test_an_opened_estimator_has_all_that_a_result_is_made_of(
    catalog: EstimatorCatalog, repository: EstimatorRepository, server: FakeInferenceServer
) -> None:
    write_fake_estimator(repository.folder, "other", 1, domain="drawn", smoothing_seconds=0.7)
    estimator = await catalog.open(OTHER_1)
    assert (estimator.id, server.selected) == (OTHER_1, [OTHER_1])
    assert estimator.inference is server.inference
    assert estimator.parameters.smoothing_seconds == 0.7
    assert estimator.flags == {Flag.WEIGHTS_SYNTHETIC, Flag.WEIGHTS_UNMEASURED}
    assert (estimator.provenance["name"], estimator.provenance["version"]) == ("other", 1)
    assert estimator.provenance["method"]["smoothing_seconds"] == 0.7


async def test_the_settings_smoothing_is_before_the_models_own(
    repository: EstimatorRepository,
) -> None:
    catalog = make_fake_catalog(make_settings(repository, smoothing_seconds=0.0))
    estimator = await catalog.open(MINI_1)
    assert estimator.parameters.smoothing_seconds == 0.0
    assert estimator.provenance["method"]["smoothing_seconds"] == 0.0


async def test_a_changed_file_is_refused_until_it_is_restored(
    catalog: EstimatorCatalog, repository: EstimatorRepository, server: FakeInferenceServer
) -> None:
    file = repository.model_file(MINI_1, "fusion")
    content = file.read_bytes()
    await catalog.open(MINI_1)
    change_file(repository, MINI_1)
    with pytest.raises(ModelChanged, match=r"mini@1\.fusion/1/model\.pt"):
        await catalog.open(MINI_1)
    with pytest.raises(ModelChanged):
        await catalog.accept("mini")
    assert not await catalog.is_ready()
    assert (await catalog.open(MINI_2)).id == MINI_2
    file.write_bytes(content)
    assert (await catalog.open(MINI_1)).id == MINI_1
    assert await catalog.is_ready()
    assert server.selected == [MINI_1, MINI_2, MINI_1]


async def test_a_version_that_is_not_loaded_is_not_served(
    catalog: EstimatorCatalog, server: FakeInferenceServer
) -> None:
    server.unloaded.add(MINI_2)
    with pytest.raises(ModelNotServed, match=r"mini@2 is not loaded .*`circumplex models load"):
        await catalog.accept("mini@2")
    with pytest.raises(ModelNotServed, match="mini@2 is not loaded"):
        await catalog.open(MINI_2)
    assert await catalog.is_ready()  # another version is current
    server.unloaded.add(MINI_1)
    assert not await catalog.is_ready()


async def test_work_is_accepted_while_the_server_is_away(
    catalog: EstimatorCatalog, server: FakeInferenceServer
) -> None:
    server.error = InferenceUnavailable()
    assert await catalog.accept(None) == MINI_1
    assert not await catalog.is_ready()
    with pytest.raises(InferenceUnavailable):
        await catalog.open(MINI_1)


async def test_a_damaged_manifest_is_refused(
    catalog: EstimatorCatalog, repository: EstimatorRepository
) -> None:
    repository.manifest_file(MINI_1).write_text("{}")
    with pytest.raises(ModelNotServed, match="manifest of mini@1 cannot be used"):
        await catalog.accept(None)
    with pytest.raises(ModelNotServed, match="manifest of mini@1 cannot be used"):
        await catalog.open(MINI_1)
    assert not await catalog.is_ready()


async def test_a_name_of_the_settings_that_is_not_exported_is_no_fault_of_the_client(
    repository: EstimatorRepository,
) -> None:
    settings = make_settings(repository, models="missing")
    catalog = make_fake_catalog(settings)
    for model in (None, "missing"):
        with pytest.raises(ModelNotServed, match="no model 'missing' is exported"):
            await catalog.accept(model)
    with pytest.raises(ModelNotServed, match="no model 'missing' is exported"):
        read_default_manifest(settings)
    assert not await catalog.is_ready()


async def test_an_empty_repository_names_the_remedy(tmp_path: Path) -> None:
    settings = Settings(models="mini", model_repository=tmp_path)
    catalog = make_fake_catalog(settings)
    with pytest.raises(ModelsMissing, match="make export"):
        await catalog.accept(None)
    with pytest.raises(ModelsMissing, match="make export"):
        read_default_manifest(settings)
    assert not await catalog.is_ready()


async def test_a_listing_has_every_version_of_the_served_names_and_why_one_is_not_usable(
    catalog: EstimatorCatalog, repository: EstimatorRepository, server: FakeInferenceServer
) -> None:
    server.unloaded.add(MINI_2)
    change_file(repository, OTHER_1)
    statuses = await catalog.list_statuses()
    assert [
        (str(each.id), each.is_current, each.is_default, type(each.error)) for each in statuses
    ] == [
        ("mini@1", True, True, type(None)),
        ("other@1", True, False, ModelChanged),
        ("mini@2", False, False, ModelNotServed),
    ]


async def test_a_listing_has_the_error_of_a_damaged_manifest(
    catalog: EstimatorCatalog, repository: EstimatorRepository
) -> None:
    for estimator in (MINI_1, MINI_2):
        repository.manifest_file(estimator).write_text("{}")
    statuses = await catalog.list_statuses()
    assert [(str(each.id), each.manifest is None) for each in statuses] == [
        ("mini@1", True),
        ("other@1", False),
        ("mini@2", True),
    ]
    assert [each.error is None for each in statuses] == [False, True, False]


def test_a_default_version_that_is_not_exported_is_no_fault_of_a_client(
    repository: EstimatorRepository,
) -> None:
    settings = Settings(models="mini@3", model_repository=repository.folder)
    catalog = make_fake_catalog(settings)
    for model in (None, "mini"):
        with pytest.raises(ModelNotServed, match="mini@3 is not exported"):
            catalog.choose(model)
