"""Results over REST: links, formats, content negotiation and HEAD."""

from __future__ import annotations

import csv
import io
import json

import httpx
import pytest

from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment


@pytest.fixture
async def job_id(env: JobEnvironment) -> str:
    job_id = await env.submit()
    async with env.running_worker(make_fake_analysis(10)):
        await env.wait_for_end(job_id)
    return job_id


async def test_succeeded_job_links_to_its_results(address: str, job_id: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        job = (await client.get(f"/v1/jobs/{job_id}")).json()
        results = [
            await client.get(job["links"][name]) for name in ("result", "result.json", "result.csv")
        ]

    assert job["state"] == "succeeded"
    progress = {"fraction": 1.0, "frames_done": 10, "frames_total": 10, "eta_seconds": None}
    assert progress == job["progress"]
    assert None is job["error"]
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    kinds = [result.headers["content-type"].split(";")[0] for result in results]
    assert kinds == ["application/json", "application/json", "text/csv"]


async def test_json_and_csv_hold_the_same_values(address: str, job_id: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        whole = (await client.get(f"/v1/jobs/{job_id}/result?format=json")).json()
        table = (await client.get(f"/v1/jobs/{job_id}/result?format=csv")).text

    assert whole["schema"] == "circumplex.result.v1"
    assert whole["flags"] == ["no_audio", "weights_unmeasured"]
    frames = whole["frames"] | {f"face_{k}": v for k, v in whole["frames"].pop("face").items()}
    rows = list(csv.DictReader(io.StringIO(table)))
    assert len(rows) == 10
    assert {row.pop("track") for row in rows} == {str(whole["track"])}
    assert {10} == {len(column) for column in frames.values()}
    for name, column in frames.items():
        cells = [row[name] for row in rows]
        if name != "missing":
            assert column == [json.loads(cell) if cell else None for cell in cells], name
        else:
            assert column == [cell or None for cell in cells]


async def test_accept_may_span_several_headers(address: str, job_id: str) -> None:
    lines = [("Accept", "image/png"), ("Accept", "text/csv")]
    async with httpx.AsyncClient(base_url=address) as client:
        request = client.build_request("GET", f"/v1/jobs/{job_id}/result")
        del request.headers["accept"]
        request.headers = httpx.Headers([*request.headers.multi_items(), *lines])
        answer = await client.send(request)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")


async def test_head_returns_the_headers_of_get_without_the_body(address: str, job_id: str) -> None:
    paths = [f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/result?format=csv", "/v1/jobs/what"]
    paths += ["/v1/jobs?page_size=1", f"/v1/jobs/{job_id}/events", "/v1/jobs?page_size=0"]
    paths += ["/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "/nowhere"]
    volatile = {"x-trace-id", "date", "content-length", "transfer-encoding"}
    async with httpx.AsyncClient(base_url=address) as client:
        for path in paths:
            get, head = await client.get(path), await client.head(path)
            assert (get.status_code, b"") == (head.status_code, head.content), path
            for name in {*get.headers} - volatile:
                assert get.headers[name] == head.headers[name], (path, name)
        metrics = (await client.get("/metrics")).text

    assert 'method="HEAD",route="/v1/jobs/{job_id}",status="200"' in metrics
    assert 'method="HEAD",route="unmatched",status="404"' in metrics


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/csv", "text/csv"),
        ("text/*, application/json;q=0.5", "text/csv"),
        ("text/csv;q=0.1, */*;q=0.9", "application/json"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
    ],
)
async def test_accept_header_selects_the_format(
    address: str, job_id: str, accept: str, expected: str
) -> None:
    async with httpx.AsyncClient(base_url=address, headers={"Accept": accept}) as client:
        answer = await client.get(f"/v1/jobs/{job_id}/result")

    assert answer.status_code == 200
    assert expected == answer.headers["content-type"].split(";")[0]
