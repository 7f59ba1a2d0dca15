"""ModelService, and the choice of a model for a job and a stream over gRPC."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from circumplex.v1 import annotation_pb2, models_pb2, models_pb2_grpc

from service.domain.estimator import EstimatorId
from service.errors import RequestInvalid
from service.gateway.stream_messages import event_to_proto, parse_request
from service.settings import Settings
from service.streaming.config import StreamSessionConfig
from tests.fake_estimators import FakeInferenceServer, make_manifest, write_fake_estimator
from tests.integration.fake_streams import make_opened
from tests.integration.rpc.grpc_client import GrpcClient, expect_error, make_submit_requests


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings that serve mini@1 by default, and other@1."""
    write_fake_estimator(settings.model_repository, "other", modalities=("face",), domain="drawn")
    return settings.model_copy(update={"models": "mini, other"})


@pytest.fixture
async def models(client: GrpcClient) -> Any:
    return models_pb2_grpc.ModelServiceStub(client.channel)


async def test_models_are_listed_and_shown(
    models: Any, inference_server: FakeInferenceServer
) -> None:
    inference_server.unloaded.add(EstimatorId("other", 1))
    listed = await models.ListModels(models_pb2.ListModelsRequest())
    shown = await models.GetModel(models_pb2.GetModelRequest(model="other"))
    mini, other = listed.models

    assert listed.default_model == "mini@1"
    assert (mini.id, mini.state, mini.is_default, mini.HasField("error")) == (
        *("mini@1", "ready", True, False),
    )
    assert (other.state, other.error.code) == ("unavailable", "model_not_served")
    assert (shown.model, list(shown.versions)) == (other, ["other@1"])
    assert (other.domain, list(other.modalities)) == ("drawn", ["face"])
    assert other.std_meaning == annotation_pb2.STD_MEANING_DISAGREEMENT
    assert list(other.flags) == ["weights_synthetic", "weights_unmeasured"]
    assert other.licences.weights == "none: random"
    assert "on a real face the numbers mean nothing" in other.summary


async def test_unknown_models_are_not_found(models: Any) -> None:
    for name in ("", "paper", "mini@0", "mini@7", "../mini", "\x00", "x" * 100_000):
        error = await expect_error(models.GetModel(models_pb2.GetModelRequest(model=name)))
        assert (error.status, error.code) == ("NOT_FOUND", "model_unknown")


@pytest.mark.parametrize(
    ("model", "expected"), [("", "mini@1"), ("other", "other@1"), ("mini@1", "mini@1")]
)
async def test_a_job_is_pinned_to_the_chosen_model(
    client: GrpcClient, model: str, expected: str
) -> None:
    submitted = await client.jobs.SubmitJob(make_submit_requests(model=model))
    assert submitted.job.model == expected


async def test_a_choice_that_cannot_be_served_is_refused(
    client: GrpcClient, inference_server: FakeInferenceServer
) -> None:
    inference_server.unloaded.add(EstimatorId("other", 1))
    for model, status, code in (
        ("paper", "NOT_FOUND", "model_unknown"),
        ("mini@7", "NOT_FOUND", "model_unknown"),
        ("other", "FAILED_PRECONDITION", "model_not_served"),
        ("mini@0", "INVALID_ARGUMENT", "request_invalid"),
    ):
        error = await expect_error(client.jobs.SubmitJob(make_submit_requests(model=model)))
        assert (error.status, error.code, error.retry_seconds) == (status, code, None)
        assert error.fields == (["options.model"] if code == "request_invalid" else [])


def test_the_config_of_a_stream_chooses_a_model_and_its_acknowledgement_names_it() -> None:
    def parse(model: str) -> StreamSessionConfig:
        config = annotation_pb2.StreamConfig(container=annotation_pb2.ContainerMedia(), model=model)
        parsed = parse_request(annotation_pb2.StreamingAnnotateRequest(config=config))
        assert isinstance(parsed, StreamSessionConfig)
        return parsed

    assert [parse(model).model for model in ("", "mini", "mini@1")] == [None, "mini", "mini@1"]
    with pytest.raises(RequestInvalid) as refused:
        parse("mini@0")
    assert refused.value.field == "config.model"
    manifest = make_manifest("net", 3, domain="photographs", classes=["happy", "sad"])
    ack = event_to_proto(replace(make_opened(), manifest=manifest)).config_ack
    assert (ack.model, ack.domain, list(ack.classes)) == ("net@3", "photographs", ["happy", "sad"])
    assert list(ack.flags) == ["weights_unmeasured"]
    assert ack.model_summary.startswith("Model net@3, learnt from photographs")
