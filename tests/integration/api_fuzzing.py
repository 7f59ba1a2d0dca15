"""Fuzzing of a gateway from its own OpenAPI document, with every check enabled.

python -m tests.integration.api_fuzzing [--examples N] [--seed S]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, Literal

import httpx

from service.auth.key_store import ApiKeyStore
from service.domain.caller import CallerQuotas, Scope
from service.settings import YARDSTICK, Settings
from tests.fake_estimators import write_fake_estimator
from tests.integration.processes import running_service
from tests.integration.servers import free_port, running_redis

START_TIMEOUT_SECONDS: Final = 60.0
RUN_TIMEOUT_SECONDS: Final = 1800.0
ROOT: Final = Path(__file__).parents[2]
SCHEMATHESIS: Final = Path(sys.executable).parent / "schemathesis"


def fuzz(
    folder: Path, redis_url: str, access: Literal["open", "keys"], *, examples: int, seed: int
) -> subprocess.CompletedProcess[str]:
    """Fuzz every operation of a gateway with a worker; stdout holds the findings."""
    models_dir = folder / "models"
    write_fake_estimator(models_dir)
    settings = Settings(
        models=YARDSTICK,
        model_repository=models_dir,
        redis_url=redis_url,
        queue_name=f"fuzz-{access}",
        store_dir=folder / access,
        access=access,
        http_port=free_port(),
        worker_metrics_port=free_port(),
        max_upload_bytes=2**20,
        max_prefer_wait_seconds=1,
    )
    url = f"http://127.0.0.1:{settings.http_port}"
    command = [
        *(SCHEMATHESIS, "run", f"{url}/openapi.json", "--no-color", "--checks", "all"),
        *("--continue-on-failure", "--max-examples", str(examples), "--seed", str(seed)),
        *("--suppress-health-check", "all", "--request-timeout", "30"),
    ]
    if access == "keys":
        command += ["--header", f"Authorization: Bearer {asyncio.run(_create_token(settings))}"]
    with running_service(settings, "gateway"), running_service(settings, "worker", "3", "0.01"):
        _await_start(url)
        return subprocess.run(
            [*map(str, command)],
            cwd=folder,
            env=os.environ
            | {
                "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
                "SCHEMATHESIS_HOOKS": "tests.integration.api_fuzzing_hooks",
                "PYTHONPATH": str(ROOT),
            },
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_SECONDS,
            check=False,
        )


async def _create_token(settings: Settings) -> str:
    async with ApiKeyStore.open(settings) as keys:
        scopes = frozenset({Scope.SUBMIT, Scope.READ})
        _, token = await keys.create("fuzzer", scopes=scopes, limits=CallerQuotas())
    return token.text


def _await_start(url: str) -> None:
    until = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            httpx.get(f"{url}/health/live").raise_for_status()
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def _main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz-api", description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="per operation")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as name, running_redis(Path(name)) as server:
        for access in ("open", "keys"):
            run = fuzz(Path(name), server.url, access, **vars(arguments))
            print(f"== access={access}\n{run.stdout}{run.stderr}", flush=True)  # noqa: T201 - a command
            failed += run.returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(_main())
