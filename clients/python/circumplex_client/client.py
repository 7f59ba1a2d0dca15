"""The client: submit a clip, wait for its job, fetch its result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self
from uuid import uuid4

import httpx

from circumplex_client.errors import (
    ClientError,
    JobCancelled,
    JobFailed,
    Problem,
    RequestRefused,
    ServiceTroubled,
    Unreachable,
    WaitTimedOut,
)
from circumplex_client.events import Event, read_events
from circumplex_client.retrying import persist
from circumplex_client.uploads import CHUNK_BYTES, OnUpload, chunks_of, headers_of
from circumplex_client.values import Choices, Job, Result

KEY_VARIABLE: Final = "CIRCUMPLEX_API_KEY"
FIRST_POLL_SECONDS: Final = 0.1
TROUBLE_SECONDS: Final = 60.0
"""For how long a service is borne that does not answer or is in trouble."""

RECONNECT_SECONDS: Final = 0.5
NO_CONTENT: Final = 204

OnProgress = Callable[[Job], None]


class Client:
    """A gateway at `base_url`. Threads may share a client.

    api_key: what the gateway's operator handed out; without it, the variable CIRCUMPLEX_API_KEY.
    trouble_seconds: for how long a service is asked again that does not answer, is in trouble or
        asks for patience.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 60.0,
        trouble_seconds: float = TROUBLE_SECONDS,
    ) -> None:
        self._trouble_seconds = trouble_seconds
        key = (api_key or os.environ.get(KEY_VARIABLE, "")).strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=base_url, timeout=timeout_seconds, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self,
        path: str | os.PathLike[str],
        choices: Choices | None = None,
        *,
        priority: str = "bulk",
        idempotency_key: str | None = None,
        on_upload: OnUpload | None = None,
    ) -> Job:
        """Stream a clip to the service; returns its job.

        However often it is sent until an answer comes, it is one job: that is what the key is
        for, a random one where none is given.
        """
        clip = Path(path)
        headers = headers_of(clip, idempotency_key or str(uuid4()))
        query = (choices or Choices()).to_query() | {"priority": priority}

        def send() -> httpx.Response:
            content = chunks_of(clip, on_upload)
            return self._ask("POST", "/v1/jobs", params=query, content=content, headers=headers)

        return Job.read(self._persist(send).json())

    def job(self, job_id: str) -> Job:
        """The job as it stands."""
        return Job.read(self._ask("GET", f"/v1/jobs/{job_id}").json())

    def jobs(self, *, state: str | None = None, code: str | None = None) -> Iterator[Job]:
        """One's own jobs, newest first; in a state, or failed with an error code."""
        chosen = {"state": state, "code": code, "page_token": None}
        while True:
            query = {name: value for name, value in chosen.items() if value is not None}
            page = self._again("GET", "/v1/jobs", params=query).json()
            yield from map(Job.read, page["jobs"])
            chosen["page_token"] = page["next_page_token"]
            if chosen["page_token"] is None:
                return

    def cancel(self, job_id: str) -> Job:
        """Stop a job; raises RequestRefused for one that has succeeded or failed."""
        return Job.read(self._again("POST", f"/v1/jobs/{job_id}:cancel").json())

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job anew; raises RequestRefused when its clip is gone."""
        return Job.read(self._again("POST", f"/v1/jobs/{job_id}:retry").json())

    def delete(self, job_id: str) -> None:
        """Delete a job with its clip and results, whatever it is doing."""
        self._ask("DELETE", f"/v1/jobs/{job_id}")

    def events(self, job_id: str) -> Iterator[Event]:
        """What happens to a job, from how it stands to its end, over lost connections too."""
        last: Event | None = None
        heard = time.monotonic()
        while last is None or not last.is_final:
            headers = {} if last is None or last.id is None else {"Last-Event-ID": last.id}
            try:
                with self._http.stream(
                    "GET", f"/v1/jobs/{job_id}/events", headers=headers
                ) as answer:
                    if not answer.is_success:
                        answer.read()
                        _raise_for(answer)
                    for event in read_events(answer.iter_lines()):
                        heard, last = time.monotonic(), event
                        yield event
                    if answer.status_code == NO_CONTENT:
                        return
            except (httpx.TransportError, ServiceTroubled) as error:
                if time.monotonic() - heard > self._trouble_seconds:
                    raise self._told(error) from error
                time.sleep(RECONNECT_SECONDS)

    def wait(
        self,
        job_id: str,
        *,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
    ) -> Job:
        """Poll until the job has succeeded; raises JobFailed, JobCancelled or WaitTimedOut.

        Short interruptions of the service are borne.
        """
        started = heard = time.monotonic()
        pause = FIRST_POLL_SECONDS
        while True:
            try:
                answer = self._ask("GET", f"/v1/jobs/{job_id}")
            except (Unreachable, ServiceTroubled):
                if time.monotonic() - heard > self._trouble_seconds:
                    raise
            else:
                heard = time.monotonic()
                job = Job.read(answer.json())
                if on_progress is not None:
                    on_progress(job)
                if job.is_final:
                    return _succeeded(job)
                pause = min(2 * pause, float(answer.headers.get("retry-after", "1")))
            if timeout_seconds is not None and time.monotonic() - started > timeout_seconds:
                raise WaitTimedOut(f"job {job_id} is not done after {timeout_seconds:.0f} s")
            time.sleep(pause)

    def result(self, job_id: str) -> Result:
        """The result of a job that has succeeded."""
        answer = self._ask("GET", f"/v1/jobs/{job_id}/result", params={"format": "json"})
        return Result.read(answer.json())

    def save(self, job_id: str, path: str | os.PathLike[str], *, format: str = "json") -> None:  # noqa: A002
        """Stream a result into a file, which appears when it is whole."""
        target = Path(path)
        partial = target.with_name(f"{target.name}.part")
        try:
            with self._http.stream(
                "GET", f"/v1/jobs/{job_id}/result", params={"format": format}
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    _raise_for(answer)
                with partial.open("wb") as file:
                    file.writelines(answer.iter_bytes(CHUNK_BYTES))
            partial.replace(target)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        finally:
            partial.unlink(missing_ok=True)

    def annotate(
        self,
        path: str | os.PathLike[str],
        choices: Choices | None = None,
        *,
        on_upload: OnUpload | None = None,
        on_progress: OnProgress | None = None,
    ) -> Result:
        """Submit a clip, wait for its job and fetch its result."""
        job = self.submit(path, choices, on_upload=on_upload)
        self.wait(job.id, on_progress=on_progress)
        return self.result(job.id)

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if not answer.is_success:
            _raise_for(answer)
        return answer

    def _again(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self._persist(lambda: self._ask(method, path, **request))

    def _persist(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        return persist(ask, seconds=self._trouble_seconds)

    def _told(self, error: httpx.TransportError | ServiceTroubled) -> ClientError:
        return error if isinstance(error, ServiceTroubled) else self._unreachable(error)

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(f"{self._http.base_url} cannot be reached: {str(error) or repr(error)}")


def _succeeded(job: Job) -> Job:
    if job.state == "cancelled":
        raise JobCancelled(f"job {job.id} was cancelled")
    if job.error is not None:
        raise JobFailed(job.error)
    return job


def _raise_for(answer: httpx.Response) -> None:
    try:
        after = answer.headers.get("retry-after", "")
        wished = float(after) if after.isdecimal() else None
        problem = Problem.read(answer.json(), retry_seconds=wished)
    except (ValueError, KeyError, TypeError) as error:
        raise Unreachable(f"{answer.url} answers {answer.status_code} without a problem") from error
    raise (RequestRefused if answer.status_code < 500 else ServiceTroubled)(problem)
