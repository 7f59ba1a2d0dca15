"""Rolling restart of every process of the service under load."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx

from service.jobs.record import JobState
from service.settings import Settings
from tests.integration.balancer import Balancer
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.processes import running_service
from tests.integration.servers import free_port

CLIENT_COUNT = 4
DELAY_SECONDS = 2.0
"""Twenty polls of the balancer."""


@dataclass(kw_only=True)
class ClientLoad:
    """Clients that submit and poll, each on one persistent connection, without retries."""

    address: str
    stop_requested: asyncio.Event = field(default_factory=asyncio.Event)
    accepted: list[str] = field(default_factory=list[str])
    statuses: Counter[int] = field(default_factory=Counter[int])

    async def run_client(self) -> None:
        async with httpx.AsyncClient(base_url=self.address, timeout=30.0) as client:
            while not self.stop_requested.is_set():
                response = await client.post("/v1/jobs", files={"clip": bytes(20_000)})
                self.statuses[response.status_code] += 1
                job_id = response.json()["id"]
                self.accepted.append(job_id)
                for _ in range(4):
                    await asyncio.sleep(0.1)
                    response = await client.get(f"/v1/jobs/{job_id}")
                    self.statuses[response.status_code] += 1


class RestartableService:
    """A gateway or worker that can be replaced on its port."""

    def __init__(self, settings: Settings, *arguments: str) -> None:
        self._settings = settings
        self._arguments = arguments
        self._running = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        process = running_service(self._settings, *self._arguments)
        self._process = self._running.enter_context(process)

    async def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self._process.wait, 60.0)
        self._running.close()
        return status

    def close(self) -> None:
        self._running.close()


async def test_no_request_fails_and_each_job_is_done_once(env: JobEnvironment) -> None:
    update = {
        "drain_delay_seconds": DELAY_SECONDS,
        "drain_seconds": 20.0,
        "lease_seconds": 15.0,
    }
    settings = env.settings.model_copy(update=update)
    ports = (free_port(), free_port())
    gateways = [
        RestartableService(settings.model_copy(update={"http_port": port}), "gateway")
        for port in ports
    ]
    workers = [
        RestartableService(
            settings.model_copy(update={"worker_metrics_port": free_port()}), "worker", "5", "0.02"
        )
        for _ in range(2)
    ]
    balancer = Balancer(ports)
    with ExitStack() as stack:
        for part in (*gateways, *workers):
            stack.callback(part.close)
            part.start()
        async with balancer.running() as address:
            await _wait_until_all_ready(balancer)
            load = ClientLoad(address=address)
            clients = [asyncio.create_task(load.run_client()) for _ in range(CLIENT_COUNT)]
            for part in (*gateways, *workers):
                assert await part.stop() == 0
                part.start()
                await _wait_until_all_ready(balancer)
            load.stop_requested.set()
            await asyncio.gather(*clients)
            records = [await env.wait_for_end(job_id, 60.0) for job_id in load.accepted]

    assert set(load.statuses) == {200, 202}
    assert len(set(load.accepted)) == load.statuses[202] > 0
    assert {JobState.SUCCEEDED} == {record.state for record in records}
    assert {(1, 0)} == {(record.attempt, record.lost) for record in records}


async def _wait_until_all_ready(balancer: Balancer) -> None:
    async def all_ready() -> bool | None:
        return balancer.ready_count == 2 or None

    await eventually(all_ready, 60.0)
