"""Service client: one input through gateway, Redis, worker and Triton, results over REST."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import httpx
from circumplex_client import Client, JobFailed, RequestRefused, ServiceFailed, WaitTimedOut
from circumplex_client.errors import ServiceUnreachable
from circumplex_client.models import ClipOptions

from service.domain.options import AnalysisOptions
from service.embedded.stack import Stack
from service.errors import ClipError, RequestError, error_from_code
from service.results.formats import FORMATS
from tests.fuzz.in_process_pipeline import (
    InvalidResult,
    Outcome,
    Verdict,
    check_document,
    classify_error,
)

RESPONSE_TIMEOUT_SECONDS = 60.0


class CheckedServiceClient:
    """A thread-safe client that checks every response."""

    def __init__(self, client: Client, http: httpx.Client, *, hang_seconds: float) -> None:
        self._client = client
        self._http = http
        self._hang_seconds = hang_seconds
        self.jobs: set[str] = set()

    @classmethod
    @contextmanager
    def connect(cls, stack: Stack, *, hang_seconds: float) -> Generator[CheckedServiceClient]:
        """Connect to the gateway of a stack."""
        address = f"http://{stack.settings.host}:{stack.settings.http_port}"
        with Client(address) as client, httpx.Client(base_url=address) as http:
            http.timeout = RESPONSE_TIMEOUT_SECONDS
            yield cls(client, http, hang_seconds=hang_seconds)

    def try_clip(self, clip: Path, options: AnalysisOptions) -> Outcome:
        """Submit a clip and return the outcome of its job; never raises."""
        began = time.monotonic()
        code, verdict, detail, rows = self._run_job(clip, options)
        seconds = time.monotonic() - began
        return Outcome(code=code, verdict=verdict, detail=detail, rows=rows, seconds=seconds)

    def _run_job(self, clip: Path, options: AnalysisOptions) -> tuple[str, Verdict, str, int]:
        try:
            job = self._client.submit(clip, ClipOptions(**asdict(options)))
            self.jobs.add(job.id)
            self._client.wait(job.id, timeout_seconds=self._hang_seconds)
            return "succeeded", Verdict.FINE, "", self._read_result(job.id)
        except (JobFailed, RequestRefused) as error:
            problem = error.problem
            return (
                problem.code,
                _classify_failure(problem.code, problem.detail),
                problem.detail or "",
                0,
            )
        except (WaitTimedOut, httpx.TimeoutException) as error:
            return "hang", Verdict.HANG, repr(error), 0
        except (
            ServiceFailed,
            ServiceUnreachable,
            InvalidResult,
            httpx.HTTPError,
            ValueError,
        ) as error:
            return type(error).__name__, Verdict.DEFECT, repr(error)[:500], 0

    def _read_result(self, job_id: str) -> int:
        responses = {
            name: self._http.get(f"/v1/jobs/{job_id}/result", params={"format": name})
            for name in FORMATS
        }
        if not all(response.is_success for response in responses.values()):
            statuses = [response.status_code for response in responses.values()]
            raise InvalidResult(f"results have the HTTP statuses {statuses}")
        return check_document(json.loads(responses["json"].content))


def _classify_failure(code: str, detail: str | None) -> Verdict:
    error = error_from_code(code, detail)
    if isinstance(error, ClipError):
        return classify_error(error)
    return Verdict.FINE if isinstance(error, RequestError) else Verdict.DEFECT
