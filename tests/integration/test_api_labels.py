"""Labels of models where people look: the documentation page, results of jobs, metrics."""

from __future__ import annotations

import json

import httpx

from service.gateway.context import GatewayContext
from service.results.formats import CSV_HEADER
from tests.fake_estimators import write_fake_estimator
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment


async def test_docs_page_lists_the_served_models_with_domain_and_caveats(
    gateway: GatewayContext, address: str
) -> None:
    folder = gateway.settings.model_repository
    write_fake_estimator(folder, domain="drawn", training="trained")
    async with httpx.AsyncClient(base_url=address) as client:
        page = (await client.get("/docs")).text
    footer = page[page.index("<footer>") :]
    assert "<td>mini@1</td><td>drawn</td><td>face and voice</td>" in footer
    assert "on a real face the numbers mean nothing" in footer
    assert "never measured on rated recordings of people" in footer
    assert "<script" not in page


async def test_docs_page_says_which_model_is_not_available(
    gateway: GatewayContext, address: str
) -> None:
    for file in gateway.settings.model_repository.glob("*.json"):
        file.unlink()
    async with httpx.AsyncClient(base_url=address) as client:
        page = await client.get("/docs")
    assert page.status_code == 200
    assert "<td>mini</td>" in page.text
    assert "not available: models_missing" in page.text


async def test_results_and_metrics_of_a_job_name_the_version_that_it_was_accepted_with(
    env: JobEnvironment,
) -> None:
    folder = env.settings.model_repository
    write_fake_estimator(folder, version=2, domain="photographs")
    job_id = await env.submit(model="mini@2")
    async with env.running_worker(make_fake_analysis(30)):
        await env.wait_for_end(job_id)
        await env.wait_for_outcome("succeeded")
    labels = {"outcome": "succeeded", "model": "mini@2"}
    read = env.metrics.registry.get_sample_value
    assert read("circumplex_job_duration_seconds_count", labels) == 1
    assert read("circumplex_realtime_factor_count", {"model": "mini@2"}) == 1
    assert read("circumplex_streams", {"model": "mini@2"}) == 0
    document = json.loads(await env.read_result(job_id, "json"))
    assert document["model"]["id"] == "mini@2"
    assert document["model"]["modalities_used"] == ["face"]  # the clip has no audio
    header, *rows = (await env.read_result(job_id, "csv")).decode().splitlines()
    assert header == ",".join(CSV_HEADER)
    assert {row.split(",")[-2] for row in rows} == {"mini@2"}
