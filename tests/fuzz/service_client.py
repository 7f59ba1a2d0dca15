"""One input through the real service: gateway, Redis, worker, Triton, and back over REST."""

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
from circumplex_client.models import ClipOptions as ClientChoices

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
    """A client that is never content: every answer is checked. Threads may share it."""

    def __init__(self, client: Client, http: httpx.Client, *, hang_seconds: float) -> None:
        self._client = client
        self._http = http
        self._hang_seconds = hang_seconds
        self.jobs: set[str] = set()

    @classmethod
    @contextmanager
    def connect(cls, stack: Stack, *, hang_seconds: float) -> Generator[CheckedServiceClient]:
        """The service that a stack runs."""
        address = f"http://{stack.settings.host}:{stack.settings.http_port}"
        with Client(address) as client, httpx.Client(base_url=address) as http:
            http.timeout = RESPONSE_TIMEOUT_SECONDS
            yield cls(client, http, hang_seconds=hang_seconds)

    def try_clip(self, clip: Path, choices: AnalysisOptions) -> Outcome:
        """The outcome of the clip's job, whatever it is."""
        began = time.monotonic()
        code, verdict, detail, rows = self._run_job(clip, choices)
        seconds = time.monotonic() - began
        return Outcome(code=code, verdict=verdict, detail=detail, rows=rows, seconds=seconds)

    def _run_job(self, clip: Path, choices: AnalysisOptions) -> tuple[str, Verdict, str, int]:
        try:
            job = self._client.submit(clip, ClientChoices(**asdict(choices)))
            self.jobs.add(job.id)
            self._client.wait(job.id, timeout_seconds=self._hang_seconds)
            return "succeeded", Verdict.FINE, "", self._read_result(job.id)
        except (JobFailed, RequestRefused) as failure:
            problem = failure.problem
            return (
                problem.code,
                _classify_failure(problem.code, problem.detail),
                problem.detail or "",
                0,
            )
        except (WaitTimedOut, httpx.TimeoutException) as late:
            return "hang", Verdict.HANG, repr(late), 0
        except (
            ServiceFailed,
            ServiceUnreachable,
            InvalidResult,
            httpx.HTTPError,
            ValueError,
        ) as error:
            return type(error).__name__, Verdict.DEFECT, repr(error)[:500], 0

    def _read_result(self, job_id: str) -> int:
        answers = {
            name: self._http.get(f"/v1/jobs/{job_id}/result", params={"format": name})
            for name in FORMATS
        }
        if not all(answer.is_success for answer in answers.values()):
            raise InvalidResult(f"results answer {[a.status_code for a in answers.values()]}")
        return check_document(json.loads(answers["json"].content))


def _classify_failure(code: str, detail: str | None) -> Verdict:
    error = error_from_code(code, detail)
    if isinstance(error, ClipError):
        return classify_error(error)
    return Verdict.FINE if isinstance(error, RequestError) else Verdict.DEFECT
