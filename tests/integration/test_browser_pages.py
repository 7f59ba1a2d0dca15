"""Pages in a real browser that try to use a gateway: its own, and one of another origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from service.gateway.context import GatewayContext
from tests.e2e.browser_page import open_page, serving_files
from tests.integration.job_environment import JobEnvironment
from tests.integration.test_http_server_limits import serving_with_settings

ATTEMPTS: Final = """
(async () => {
  const base = BASE, job = base + JOB, done = {};
  const attempt = async (name, action) => {
    try { done[name] = String(await action()) } catch (error) { done[name] = 'refused' }
  };
  const form = new FormData();
  form.append('clip', new Blob(['x']), 'x.mp4');
  const status = async (url, options) => (await fetch(url, options)).status;
  const loads = (tag, url) => new Promise((resolve, reject) => {
    const element = document.createElement(tag);
    element.onload = element.onloadedmetadata = () => resolve('loaded');
    element.onerror = reject;
    element.src = url;
    document.body.append(element);
  });
  await attempt('submit', () => status(base + '/v1/jobs', {method: 'POST', body: form}));
  await attempt('submit blindly', () =>
    status(base + '/v1/jobs', {method: 'POST', body: form, mode: 'no-cors'}));
  await attempt('cancel', () => status(job + ':cancel', {method: 'POST', mode: 'no-cors'}));
  await attempt('list', () => status(base + '/v1/jobs'));
  await attempt('embed', () => loads('script', base + '/openapi.json'));
  await attempt('follow', () => new Promise((resolve, reject) => {
    const source = new EventSource(job + '/events');
    source.onopen = () => { source.close(); resolve('open') };
    source.onerror = () => { source.close(); reject() };
  }));
  await attempt('stream', () => new Promise((resolve, reject) => {
    const socket = new WebSocket(base.replace('http', 'ws') + '/v1/live');
    socket.onopen = () => { socket.close(); resolve('open') };
    socket.onerror = reject;
  }));
  await attempt('delete', () => status(job, {method: 'DELETE'}));
  return done;
})()
"""


async def attempt_everything(page: str, address: str, job_id: str, profile: Path) -> dict[str, Any]:
    script = ATTEMPTS.replace("BASE", f"'{address}'").replace("JOB", f"'/v1/jobs/{job_id}'")
    async with open_page(page, camera=Path("none"), profile=profile) as opened:
        return await opened.evaluate(script)


async def test_a_page_of_another_origin_reaches_nothing_and_an_allowed_one_does(
    gateway: GatewayContext, env: JobEnvironment, tmp_path: Path
) -> None:
    job_id = await env.submit()
    (tmp_path / "index.html").write_text("<!doctype html><title>a page</title><body>")
    async with (
        serving_files(tmp_path) as origin,
        serving_with_settings(gateway) as strict,
        serving_with_settings(gateway, allowed_origins=origin) as lenient,
    ):
        page = f"{origin}/index.html"
        foreign = await attempt_everything(page, strict, job_id, tmp_path / "1")
        stored, state = env.list_stored_files("clips"), (await env.queue.find(job_id)).state
        allowed = await attempt_everything(page, lenient, job_id, tmp_path / "2")

    assert {*foreign.values()} == {"refused"}
    assert (len(stored), state) == (1, "queued")
    embedded = {"embed", "submit blindly", "cancel"}  # read by no page of another origin
    assert {name for name, end in allowed.items() if end == "refused"} == embedded
    assert (allowed["submit"], allowed["list"], allowed["delete"]) == ("202", "200", "204")
