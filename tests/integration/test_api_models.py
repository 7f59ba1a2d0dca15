"""Models over REST: listing, choice for a job, and refusals before the clip is stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from service.domain.estimator import EstimatorId, EstimatorManifest
from service.errors import DecoderCrashed, InferenceUnavailable
from service.estimators.repository import EstimatorRepository
from service.gateway.context import GatewayContext
from service.settings import Settings
from tests.fake_estimators import FakeInferenceServer, make_fake_catalog, write_fake_estimator
from tests.integration.fakes import make_failing_analysis, make_fake_analysis
from tests.integration.job_client import CLIP, open_client, post_clip
from tests.integration.job_environment import JobEnvironment

FACE_FACTS: dict[str, Any] = {
    "modalities": ("face",),
    "domain": "photographs",
    "title": "A net of photographs.",
    "smoothing_seconds": 1.0,
    "classes": ["happy", "sad"],
    "calibration": {"meaning": "published_error"},
    "figures": [{"metric": "ccc", "valence": 0.5, "on": "pictures", "source": "a paper"}],
}
OTHER_2 = EstimatorId("other", 2)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings that serve mini@1 by default, and of `other` the versions 1 and 2."""
    for version in (1, 2):
        write_fake_estimator(settings.model_repository, "other", version, **FACE_FACTS)
    EstimatorRepository(settings.model_repository).set_current(EstimatorId("other", 1))
    return settings.model_copy(update={"models": "mini, other"})


@pytest.fixture
async def client(address: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with open_client(address) as client:
        yield client


async def test_models_are_listed_with_their_state_and_what_they_are_worth(
    client: httpx.AsyncClient, inference_server: FakeInferenceServer
) -> None:
    inference_server.unloaded.add(OTHER_2)
    answer = await client.get("/v1/models")
    document = answer.json()
    mini, other, newer = document["models"]

    assert answer.headers["cache-control"] == "private, max-age=3"
    assert document["default"] == "mini@1"
    assert [each["id"] for each in document["models"]] == ["mini@1", "other@1", "other@2"]
    assert [each["is_current"] for each in document["models"]] == [True, True, False]
    assert (mini["is_default"], mini["state"], mini["error"]) == (True, "ready", None)
    assert (mini["domain"], mini["flags"]) == (None, ["weights_unmeasured"])
    assert other["modalities"] == ["face"]
    assert (other["classes"], other["smoothing_seconds"]) == (["happy", "sad"], 1.0)
    assert (other["domain"], other["std_meaning"]) == ("photographs", "published_error")
    assert other["figures"][0]["source"] == "a paper"
    assert other["licences"]["weights"] == "none: random"
    assert other["summary"].startswith("Model other@1, learnt from photographs")
    assert "log_mel" not in other["weights_sha256"]
    assert (newer["state"], newer["error"]["code"]) == ("unavailable", "model_not_served")


@pytest.mark.parametrize(
    ("name", "expected"), [("other", "other@1"), ("other@2", "other@2"), ("mini", "mini@1")]
)
async def test_a_model_is_shown_by_its_name_or_its_id(
    client: httpx.AsyncClient, name: str, expected: str
) -> None:
    document = (await client.get(f"/v1/models/{name}")).json()
    name = expected.partition("@")[0]
    assert document["id"] == expected
    assert document["versions"] == {"mini": ["mini@1"], "other": ["other@1", "other@2"]}[name]


async def test_an_unknown_model_is_not_found(client: httpx.AsyncClient) -> None:
    names = ("paper", "mini@7", "mini@0", "mini@999999999", "%2e%2e", "MINI", "m%C3%AFni")
    expected = dict.fromkeys((*names, "mini@1%0a", "%00", "x" * 3000), "model_unknown")
    expected |= {"..%2fjobs": "route_unknown", "mini@1/": "route_unknown"}
    answers = {name: await client.get(f"/v1/models/{name}") for name in expected}

    assert {name: answer.json()["code"] for name, answer in answers.items()} == expected
    assert {answer.status_code for answer in answers.values()} == {404}
    assert max(len(answer.json()["detail"]) for answer in answers.values()) < 300


async def test_a_damaged_manifest_is_listed_with_its_error_beside_the_others(
    client: httpx.AsyncClient, gateway: GatewayContext, settings: Settings
) -> None:
    file = EstimatorRepository(settings.model_repository).manifest_file(EstimatorId("other", 1))
    for damage in (b"{", b"[]", b"[" * 100_000, b'{"name": "other"}', b"\xff"):
        file.write_bytes(damage)
        statuses = {str(each.id): each for each in await gateway.estimators.list_statuses()}
        assert {name: each.error is None for name, each in statuses.items()} == {
            "mini@1": True,
            "other@1": False,
            "other@2": True,
        }
    listed = {each["id"]: each for each in (await client.get("/v1/models")).json()["models"]}
    accepted = await post_clip(client)

    assert (listed["other@1"]["state"], listed["mini@1"]["state"]) == ("unavailable", "ready")
    assert listed["other@1"]["error"]["code"] == "model_not_served"
    assert str(settings.model_repository) not in listed["other@1"]["error"]["detail"]
    assert "domain" not in listed["other@1"]
    assert (accepted.status_code, accepted.json()["model"]) == (202, "mini@1")


async def test_damaged_versions_leave_every_version_to_be_chosen_by_its_id(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    (settings.model_repository / "versions.json").write_text('{"other": "newest"}')
    document = (await client.get("/v1/models")).json()
    by_name = await post_clip(client, query="?model=other")
    by_id = await post_clip(client, query="?model=other@2")

    assert document["default"] is None
    assert {each["state"] for each in document["models"]} == {"ready"}
    assert (by_name.status_code, by_name.json()["code"]) == (503, "model_not_served")
    assert by_id.json()["model"] == "other@2"


async def test_an_empty_repository_is_a_problem(
    client: httpx.AsyncClient, settings: Settings, env: JobEnvironment
) -> None:
    for file in settings.model_repository.glob("*.json"):
        file.unlink()
    for answer in (await client.get("/v1/models"), await post_clip(client)):
        assert (answer.status_code, answer.json()["code"]) == (503, "models_missing")
    assert env.list_stored_files("clips") == []


async def test_models_are_listed_while_triton_is_away_and_jobs_are_accepted(
    client: httpx.AsyncClient, inference_server: FakeInferenceServer
) -> None:
    inference_server.error = InferenceUnavailable()
    models = (await client.get("/v1/models")).json()["models"]
    accepted = await post_clip(client, query="?model=other")

    assert {each["error"]["code"] for each in models} == {"inference_unavailable"}
    assert all(each["error"]["retryable"] for each in models)
    assert models[1]["domain"] == "photographs"
    assert accepted.json()["model"] == "other@1"


class CountingServer(FakeInferenceServer):
    """Counts the readiness checks, which take a moment."""

    checks = 0

    async def find_unready(self, manifest: EstimatorManifest) -> list[str]:
        self.checks += 1
        await asyncio.sleep(0.01)
        return await super().find_unready(manifest)


async def test_many_clients_that_list_models_ask_triton_once(
    gateway: GatewayContext, settings: Settings
) -> None:
    server = CountingServer()
    estimators = make_fake_catalog(settings, server)
    listings = (gateway.model_listing.read(estimators) for _ in range(20))
    await asyncio.gather(*listings)
    await gateway.model_listing.find(estimators, "mini")
    assert server.checks == 3


async def test_readiness_names_the_models_that_are_not_ready(
    client: httpx.AsyncClient, inference_server: FakeInferenceServer
) -> None:
    inference_server.unloaded.add(EstimatorId("mini", 1))
    answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["models"] == {"mini@1": "model_not_served", "other@1": "ready"}
    assert "mini@1 (model_not_served)" in answer.json()["detail"]


def make_form(*fields: tuple[str, str]) -> tuple[bytes, dict[str, str]]:
    """Make a form of fields in this order; `clip` is the clip. Returns body and headers."""
    body = b""
    for name, value in fields:
        filename = '; filename="a.mp4"' if name == "clip" else ""
        head = f'--xx\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'
        body += head.encode() + (CLIP if name == "clip" else value.encode()) + b"\r\n"
    return body + b"--xx--\r\n", {"Content-Type": "multipart/form-data; boundary=xx"}


@pytest.mark.parametrize(
    ("query", "fields", "expected"),
    [
        ("", (), "mini@1"),
        ("?model=mini", (), "mini@1"),
        ("?model=other", (), "other@1"),
        ("?model=other@2", (), "other@2"),
        ("", (("clip", ""),), "mini@1"),
        ("", (("model", "other"), ("clip", "")), "other@1"),
        ("", (("clip", ""), ("model", "other@2")), "other@2"),
        ("?model=other", (("clip", ""), ("model", "other")), "other@1"),
    ],
)
async def test_a_job_is_pinned_to_the_chosen_version_and_its_result_names_it(
    client: httpx.AsyncClient,
    env: JobEnvironment,
    query: str,
    fields: tuple[tuple[str, str], ...],
    expected: str,
) -> None:
    body, headers = make_form(*fields) if fields else (CLIP, {"Content-Type": "video/mp4"})
    answer = await client.post(f"/v1/jobs{query}", content=body, headers=headers)
    async with env.running_worker(make_fake_analysis(3)):
        await env.wait_for_end(answer.json()["id"])
    result = (await client.get(answer.json()["links"]["result"])).json()

    assert answer.json()["model"] == expected
    provenance = result["provenance"]
    assert f"{provenance['name']}@{provenance['version']}" == expected


UNKNOWN = (404, "model_unknown")
NOT_LOADED = (503, "model_not_served")
INVALID = (422, "request_invalid")
CLIP_FIELD = ("clip", "")
REFUSALS: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[int, str]] = {
    ("?model=paper", ()): UNKNOWN,
    ("?model=mini@7", ()): UNKNOWN,
    ("?model=other@2", ()): NOT_LOADED,
    ("", (("model", "paper"), CLIP_FIELD)): UNKNOWN,
    ("", (CLIP_FIELD, ("model", "paper"))): UNKNOWN,
    ("", (CLIP_FIELD, ("model", "other@2"))): NOT_LOADED,
    ("?model=", ()): INVALID,
    ("?model=mini@0", ()): INVALID,
    ("?model=mini@9999999", ()): INVALID,
    ("?model=..%2fmini", ()): INVALID,
    ("?model=mini%0a", ()): INVALID,
    ("?model=MINI", ()): INVALID,
    (f"?model={'x' * 3000}", ()): INVALID,
    ("?model=mini&model=other", ()): INVALID,
    ("?model=mini", (CLIP_FIELD, ("model", "other"))): INVALID,
    ("?model=mini", (("model", "mini@1"), CLIP_FIELD)): INVALID,
    ("", (("model", "mini"), ("model", "mini"), CLIP_FIELD)): INVALID,
    ("", (CLIP_FIELD, ("model", ""))): INVALID,
}
"""Query and form of each refused choice, and the answer."""


async def test_a_choice_that_cannot_be_served_is_refused_and_nothing_is_kept(
    client: httpx.AsyncClient, env: JobEnvironment, inference_server: FakeInferenceServer
) -> None:
    inference_server.unloaded.add(OTHER_2)
    found: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[int, str]] = {}
    for query, fields in REFUSALS:
        body, headers = make_form(*fields) if fields else (CLIP, {"Content-Type": "video/mp4"})
        answer = await client.post(f"/v1/jobs{query}", content=body, headers=headers)
        found[query, fields] = answer.status_code, answer.json().get("code")

    assert found == REFUSALS
    assert env.list_stored_files("clips") == []
    assert (await env.queue.measure_backlog()).depth == 0


async def test_an_unknown_model_is_refused_before_the_clip_is_sent(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /v1/jobs?model=paper HTTP/1.1\r\nHost: {host}\r\nContent-Type: video/mp4\r\n"
        "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()

    assert head.startswith(b"HTTP/1.1 404")
    assert json.loads(body)["code"] == "model_unknown"


async def test_a_changed_model_file_is_refused(
    client: httpx.AsyncClient, settings: Settings, env: JobEnvironment
) -> None:
    repository = EstimatorRepository(settings.model_repository)
    repository.model_file(EstimatorId("other", 1), "fusion").write_bytes(b"something else")
    refused = await post_clip(client, query="?model=other")
    listed = (await client.get("/v1/models/other")).json()

    assert (refused.status_code, refused.json()["code"]) == (503, "model_changed")
    assert (listed["state"], listed["error"]["code"]) == ("unavailable", "model_changed")
    assert env.list_stored_files("clips") == []


async def test_a_model_behind_the_clip_is_accepted_where_the_default_is_not_loaded(
    client: httpx.AsyncClient, inference_server: FakeInferenceServer
) -> None:
    inference_server.unloaded.add(EstimatorId("mini", 1))
    body, headers = make_form(("clip", ""), ("model", "other"))
    answer = await client.post("/v1/jobs", content=body, headers=headers)
    assert (answer.status_code, answer.json()["model"]) == (202, "other@1")


async def test_jobs_keep_their_version_through_an_upgrade_retries_and_repeated_requests(
    client: httpx.AsyncClient, settings: Settings, env: JobEnvironment
) -> None:
    headers = {"Idempotency-Key": "one"}
    first = (await post_clip(client, query="?model=other", headers=headers)).json()
    async with env.running_worker(make_failing_analysis(DecoderCrashed())):
        await env.wait_for_end(first["id"])
    EstimatorRepository(settings.model_repository).set_current(OTHER_2)
    repeated = await post_clip(client, query="?model=other", headers=headers)
    retried = (await client.post(f"/v1/jobs/{first['id']}:retry")).json()
    later = (await post_clip(client, query="?model=other")).json()
    reused = await post_clip(client, query="?model=other@1", headers=headers)

    assert (first["model"], retried["model"], later["model"]) == ("other@1", "other@1", "other@2")
    assert (repeated.json()["id"], repeated.json()["model"]) == (first["id"], "other@1")
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_job_whose_version_is_gone_says_so(
    client: httpx.AsyncClient, settings: Settings, env: JobEnvironment
) -> None:
    job = (await post_clip(client, query="?model=other@2")).json()
    EstimatorRepository(settings.model_repository).remove(OTHER_2)
    async with env.running_worker(make_fake_analysis(3)):
        await env.wait_for_end(job["id"])
    ended = (await client.get(f"/v1/jobs/{job['id']}")).json()
    result = await client.get(f"/v1/jobs/{job['id']}/result")

    assert (ended["model"], ended["error"]["code"]) == ("other@2", "model_not_served")
    assert (result.status_code, result.json()["code"]) == (503, "model_not_served")


async def test_a_job_of_before_there_was_a_choice_has_no_model(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    job = (await client.get(f"/v1/jobs/{await env.submit()}")).json()
    assert job["model"] is None
