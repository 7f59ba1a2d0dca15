"""REST client: submit a clip, wait for its job, fetch its result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote
from uuid import uuid4

import httpx

from circumplex_client.errors import (
    ClientError,
    JobCancelled,
    JobFailed,
    ProblemDetails,
    RequestRefused,
    ServiceFailed,
    ServiceUnreachable,
    WaitTimedOut,
)
from circumplex_client.models import ClipOptions, ClipResult, Job, JobNotification
from circumplex_client.partial_files import PartialFiles
from circumplex_client.served_models import ServedModel
from circumplex_client.transport import (
    CHUNK_BYTES,
    OnUpload,
    build_headers,
    build_hold_headers,
    build_transport,
    call_with_retries,
    describe_route,
    iter_chunks,
    parse_events,
    read_api_key,
)

FIRST_POLL_SECONDS: Final = 0.1
LONG_POLL_SECONDS: Final = 20.0
"""Longest time for which the service is asked to hold its answer back until a job has ended."""
PROGRESS_SECONDS: Final = 1.0
"""The same where progress is reported."""
RETRY_TIMEOUT_SECONDS: Final = 60.0
"""Time for which failing requests are retried before the last error is raised."""

RECONNECT_SECONDS: Final = 0.5
HTTP_NO_CONTENT: Final = 204
HTTP_SERVER_ERROR: Final = 500

OnProgress = Callable[[Job], None]


class Client:
    """Client of the gateway at `base_url`; safe to share between threads.

    Args:
        base_url: such as "http://127.0.0.1:8080".
        api_key: default: the environment variable CIRCUMPLEX_API_KEY.
        timeout_seconds: of a single HTTP request.
        proxy: such as "http://proxy:3128". None: a direct connection, whatever the environment
            says (HTTPS_PROXY and its like).
        retry_timeout_seconds: time for which requests are repeated while the service does not
            answer, fails or asks to retry later.

    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 60.0,
        proxy: str | None = None,
        retry_timeout_seconds: float = RETRY_TIMEOUT_SECONDS,
    ) -> None:
        self._retry_timeout_seconds = retry_timeout_seconds
        self._max_hold_seconds = min(LONG_POLL_SECONDS, timeout_seconds / 2)
        key = read_api_key(api_key)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._partial_files = PartialFiles()
        self._route = describe_route(base_url, proxy)
        self._http = httpx.Client(
            base_url=base_url,
            timeout=timeout_seconds,
            headers=headers,
            transport=build_transport(proxy),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; results that are being saved are dropped."""
        self._partial_files.discard_all()
        self._http.close()

    def submit(
        self,
        path: str | os.PathLike[str],
        options: ClipOptions | None = None,
        *,
        model: str | None = None,
        priority: str = "bulk",
        idempotency_key: str | None = None,
        on_upload: OnUpload | None = None,
    ) -> Job:
        """Stream a clip to the service; returns its job.

        Retries carry the same idempotency key (default: a random one), so they create one job.

        Args:
            path: of the clip.
            options: of the analysis.
            model: NAME, for its current version, or NAME@VERSION; None: the service's default.
            priority: "bulk" or "interactive".
            idempotency_key: the same key and clip are one job.
            on_upload: called after each chunk that was sent.

        """
        clip = Path(path)
        headers = build_headers(clip, idempotency_key or str(uuid4()))
        query = (options or ClipOptions()).to_query() | {"priority": priority}
        if model is not None:
            query["model"] = model

        def send() -> httpx.Response:
            content = iter_chunks(clip, on_upload)
            return self._send_request(
                "POST", "/v1/jobs", params=query, content=content, headers=headers
            )

        return Job.from_json(self._call_with_retries(send).json())

    def models(self) -> list[ServedModel]:
        """List every version of the models that can be chosen, the current ones first."""
        document = self._send_with_retries("GET", "/v1/models").json()
        return [ServedModel.from_json(each) for each in document["models"]]

    def model(self, name: str) -> ServedModel:
        """Fetch a model by NAME, for its current version, or by NAME@VERSION.

        Raises: RequestRefused: the service has no such model [model_unknown].
        """
        response = self._send_with_retries("GET", f"/v1/models/{quote(name, safe='@')}")
        return ServedModel.from_json(response.json())

    def job(self, job_id: str) -> Job:
        """Fetch the current state of a job."""
        return Job.from_json(self._send_request("GET", f"/v1/jobs/{job_id}").json())

    def jobs(self, *, state: str | None = None, code: str | None = None) -> Iterator[Job]:
        """Iterate over the caller's jobs, newest first, filtered by state or error code."""
        filters = {"state": state, "code": code, "page_token": None}
        while True:
            query = {name: value for name, value in filters.items() if value is not None}
            page = self._send_with_retries("GET", "/v1/jobs", params=query).json()
            yield from map(Job.from_json, page["jobs"])
            filters["page_token"] = page["next_page_token"]
            if filters["page_token"] is None:
                return

    def cancel(self, job_id: str) -> Job:
        """Stop a job; raises RequestRefused for one that has succeeded or failed."""
        return Job.from_json(self._send_with_retries("POST", f"/v1/jobs/{job_id}:cancel").json())

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again; raises RequestRefused if its clip is deleted."""
        return Job.from_json(self._send_with_retries("POST", f"/v1/jobs/{job_id}:retry").json())

    def delete(self, job_id: str) -> None:
        """Delete a job with its clip and results, in any state."""
        self._send_request("DELETE", f"/v1/jobs/{job_id}")

    def events(self, job_id: str) -> Iterator[JobNotification]:
        """Iterate over a job's notifications until it ends; reconnects after lost connections."""
        last: JobNotification | None = None
        last_contact = time.monotonic()
        while last is None or not last.is_final:
            headers = {} if last is None or last.id is None else {"Last-Event-ID": last.id}
            try:
                with self._http.stream(
                    "GET", f"/v1/jobs/{job_id}/events", headers=headers
                ) as response:
                    if not response.is_success:
                        response.read()
                        _raise_for_status(response)
                    for event in parse_events(response.iter_lines()):
                        last_contact, last = time.monotonic(), event
                        yield event
                    if response.status_code == HTTP_NO_CONTENT:
                        return
            except (httpx.TransportError, ServiceFailed) as error:
                if time.monotonic() - last_contact > self._retry_timeout_seconds:
                    raise self._to_client_error(error) from error
                time.sleep(RECONNECT_SECONDS)

    def wait(
        self,
        job_id: str,
        *,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
    ) -> Job:
        """Wait until the job has succeeded; raises JobFailed, JobCancelled or WaitTimedOut.

        The service answers once the job has ended (`Prefer: wait`); one that cannot is polled.
        Service failures shorter than `retry_timeout_seconds` are ignored.
        """
        started = last_contact = time.monotonic()
        pause, hold_seconds = FIRST_POLL_SECONDS, 0.0 if on_progress else self._max_hold_seconds
        while True:
            asked = time.monotonic()
            left = inf if timeout_seconds is None else started + timeout_seconds - asked
            headers = build_hold_headers(min(hold_seconds, left))
            try:
                response = self._send_request("GET", f"/v1/jobs/{job_id}", headers=headers)
            except (ServiceUnreachable, ServiceFailed):
                if time.monotonic() - last_contact > self._retry_timeout_seconds:
                    raise
            else:
                last_contact = time.monotonic()
                job = Job.from_json(response.json())
                if on_progress is not None:
                    on_progress(job)
                    hold_seconds = min(PROGRESS_SECONDS, self._max_hold_seconds)
                if job.is_final:
                    return _raise_unless_succeeded(job)
                pause = min(2 * pause, float(response.headers.get("retry-after", "1")))
            if timeout_seconds is not None and time.monotonic() - started > timeout_seconds:
                raise WaitTimedOut(f"job {job_id} is not done after {timeout_seconds:.0f} s")
            time.sleep(max(asked + pause - time.monotonic(), 0.0))

    def result(self, job_id: str) -> ClipResult:
        """Fetch the result of a job that has succeeded."""
        response = self._send_request("GET", f"/v1/jobs/{job_id}/result", params={"format": "json"})
        return ClipResult.from_json(response.json())

    def save(
        self,
        job_id: str,
        path: str | os.PathLike[str],
        *,
        format: str = "json",  # noqa: A002 - the name of the query parameter
    ) -> None:
        """Stream a result into a file, which is created only when complete.

        Args:
            job_id: a job that has succeeded.
            path: of the file; an existing one is replaced.
            format: "json" or "csv".

        """
        try:
            with self._http.stream(
                "GET", f"/v1/jobs/{job_id}/result", params={"format": format}
            ) as response:
                if not response.is_success:
                    response.read()
                    _raise_for_status(response)
                with self._partial_files.open(Path(path)) as file:
                    file.writelines(response.iter_bytes(CHUNK_BYTES))
        except httpx.TransportError as error:
            raise self._to_unreachable(error) from error

    def annotate(
        self,
        path: str | os.PathLike[str],
        options: ClipOptions | None = None,
        *,
        model: str | None = None,
        on_upload: OnUpload | None = None,
        on_progress: OnProgress | None = None,
    ) -> ClipResult:
        """Submit a clip, wait for its job and fetch its result; see `submit`."""
        job = self.submit(path, options, model=model, on_upload=on_upload)
        self.wait(job.id, on_progress=on_progress)
        return self.result(job.id)

    def _send_request(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise self._to_unreachable(error) from error
        if not response.is_success:
            _raise_for_status(response)
        return response

    def _send_with_retries(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self._call_with_retries(lambda: self._send_request(method, path, **request))

    def _call_with_retries(self, call: Callable[[], httpx.Response]) -> httpx.Response:
        return call_with_retries(call, timeout_seconds=self._retry_timeout_seconds)

    def _to_client_error(self, error: httpx.TransportError | ServiceFailed) -> ClientError:
        return error if isinstance(error, ServiceFailed) else self._to_unreachable(error)

    def _to_unreachable(self, error: httpx.TransportError) -> ServiceUnreachable:
        return ServiceUnreachable(f"{self._route} cannot be reached: {str(error) or repr(error)}")


def _raise_unless_succeeded(job: Job) -> Job:
    if job.state == "cancelled":
        raise JobCancelled(f"job {job.id} was cancelled")
    if job.error is not None:
        raise JobFailed(job.error)
    return job


def _raise_for_status(response: httpx.Response) -> None:
    try:
        retry_after = response.headers.get("retry-after", "")
        retry_seconds = float(retry_after) if retry_after.isdecimal() else None
        problem = ProblemDetails.from_json(response.json(), retry_seconds=retry_seconds)
    except (ValueError, KeyError, TypeError) as error:
        raise ServiceUnreachable(
            f"{response.url} answers {response.status_code} without a problem"
        ) from error
    raise (RequestRefused if response.status_code < HTTP_SERVER_ERROR else ServiceFailed)(problem)
