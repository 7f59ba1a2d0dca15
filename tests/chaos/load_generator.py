"""Load generator: clients that submit, retry and poll until every job has ended."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import Any, Final, Self

import httpx

from tests.chaos.clips import ChaosClip

RESPONSE_TIMEOUT_SECONDS: Final = 20.0
_FINAL_STATES: Final = ("succeeded", "failed", "cancelled")
_RETRY_SECONDS: Final = 0.3
_MAX_RETRY_SECONDS: Final = 2.0
_JOB_POLL_SECONDS: Final = 1.5
"""Polling interval of one job; gateways and workers share the CPUs."""
_SLOW_UPLOAD_SECONDS: Final = 1.0
_SLOW_UPLOAD_CHUNKS: Final = 5
_ACCEPTED_STATUSES: Final = (200, 202)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSubmission:
    """Submission to make. key: idempotency key, sent with every request for it.

    is_slow: send the clip in chunks, over a second, so that kills interrupt uploads.
    """

    number: int
    key: str
    clip: ChaosClip
    is_slow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedSubmission:
    """Submission that the service has accepted. request_count: requests that this took."""

    submission: PlannedSubmission
    job_id: str
    epoch_seconds: float
    request_count: int


@dataclass(slots=True)
class ClientLog:
    """Responses that the clients received; shared by their threads."""

    accepted: dict[int, AcceptedSubmission] = field(default_factory=dict[int, AcceptedSubmission])
    first_final_states: dict[str, str] = field(default_factory=dict[str, str])
    """First final state that a client received, by job id."""
    responses: Counter[str] = field(default_factory=Counter[str])
    """Number of responses by status, or by the class of a transport error."""
    rejected: list[str] = field(default_factory=list[str])
    """Responses to submissions that must not be retried."""


class GatewayPool:
    """HTTP client of one thread that picks a gateway at random for each request."""

    def __init__(self, addresses: Sequence[str], log: ClientLog, rng: Random) -> None:
        self._addresses = list(addresses)
        self._log = log
        self._rng = rng
        self._http = httpx.Client(timeout=RESPONSE_TIMEOUT_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        """Send a request to a gateway; returns None if the connection broke."""
        address = self._rng.choice(self._addresses)
        try:
            answer = self._http.request(method, f"{address}{path}", **request)
        except httpx.TransportError as error:
            self._log.responses[type(error).__name__] += 1
            return None
        self._log.responses[str(answer.status_code)] += 1
        return answer


class LoadGenerator:
    """Makes all planned submissions, up to `at_once` open jobs, and polls until they end."""

    def __init__(
        self,
        addresses: Sequence[str],
        submissions: Sequence[PlannedSubmission],
        *,
        submitters: int,
        at_once: int,
        spread_seconds: float = 0.0,
    ) -> None:
        """Args: spread_seconds: minimum time over which the submissions are spread."""
        self.log = ClientLog()
        self.submission_count = len(submissions)
        self._addresses = addresses
        pause_seconds = spread_seconds / max(len(submissions), 1)
        began = time.monotonic()
        self._waiting = deque(
            (began + n * pause_seconds, each) for n, each in enumerate(submissions)
        )
        self._open: deque[tuple[float, str]] = deque()
        self._open_slots = threading.Semaphore(at_once)
        self._stop = threading.Event()
        self._submitters = submitters
        self._threads = ThreadPoolExecutor(submitters + 1, thread_name_prefix="client")
        self._running: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._running = [
            *(
                self._threads.submit(self._run_submitter, number)
                for number in range(self._submitters)
            ),
            self._threads.submit(self._run_poller),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._threads.shutdown()

    def wait(self, seconds: float, *, on_poll: Callable[[], None] = lambda: None) -> bool:
        """Wait until done or for `seconds`; returns whether it is done.

        Raises: any error of a client's thread.
        """
        end = time.monotonic() + seconds
        while not self.is_done() and time.monotonic() < end:
            for each in self._running:
                if each.done():
                    each.result()
            on_poll()
            time.sleep(0.1)
        return self.is_done()

    def is_done(self) -> bool:
        """Return whether every submission was accepted or rejected, and every job has ended."""
        known = len(self.log.first_final_states) + len(self.log.rejected)
        return known == self.submission_count

    def _run_submitter(self, seed: int) -> None:
        gateways = GatewayPool(self._addresses, self.log, Random(seed))
        try:
            while not self._stop.is_set():
                try:
                    due, submission = self._waiting.popleft()
                except IndexError:
                    return
                self._stop.wait(due - time.monotonic())
                while not self._open_slots.acquire(timeout=0.2):
                    if self._stop.is_set():
                        return
                self._submit(submission, gateways)
        finally:
            gateways.close()

    def _submit(self, submission: PlannedSubmission, gateways: GatewayPool) -> None:
        pause, request_count = _RETRY_SECONDS, 0
        while not self._stop.is_set():
            request_count += 1
            answer = gateways.request(
                "POST",
                "/v1/jobs",
                params=submission.clip.query,
                content=_send_slowly(submission.clip.data)
                if submission.is_slow
                else submission.clip.data,
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(len(submission.clip.data)),
                    "Idempotency-Key": submission.key,
                },
            )
            if answer is not None and answer.status_code in _ACCEPTED_STATUSES:
                self._record_accepted(submission, answer.json()["id"], request_count)
                return
            if answer is not None and not _is_retryable(answer):
                self.log.rejected.append(
                    f"{submission.key}: {answer.status_code} {answer.text[:300]}"
                )
                self._open_slots.release()
                return
            self._stop.wait(pause)
            pause = min(2 * pause, _MAX_RETRY_SECONDS)

    def _record_accepted(
        self, submission: PlannedSubmission, job_id: str, request_count: int
    ) -> None:
        self.log.accepted[submission.number] = AcceptedSubmission(
            submission=submission,
            job_id=job_id,
            epoch_seconds=time.time(),
            request_count=request_count,
        )
        self._open.append((time.monotonic() + _JOB_POLL_SECONDS, job_id))

    def _run_poller(self) -> None:
        gateways = GatewayPool(self._addresses, self.log, Random(-1))
        try:
            while not self._stop.is_set():
                if not self._open or self._open[0][0] > time.monotonic():
                    self._stop.wait(0.02)
                    continue
                _, job_id = self._open.popleft()
                state = self._poll_state(job_id, gateways)
                if state in _FINAL_STATES:
                    self.log.first_final_states[job_id] = state
                    self._open_slots.release()
                else:
                    self._open.append((time.monotonic() + _JOB_POLL_SECONDS, job_id))
        finally:
            gateways.close()

    def _poll_state(self, job_id: str, gateways: GatewayPool) -> str | None:
        answer = gateways.request("GET", f"/v1/jobs/{job_id}")
        if answer is None or not answer.is_success:
            return None
        return str(answer.json()["state"])


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """Final outcome of a job according to the service.

    state: None for an unknown job. result: the JSON document of a job that has succeeded.
    """

    state: str | None
    error_code: str | None = None
    attempts: int = 0
    result: Mapping[str, Any] | None = None


def fetch_outcome(job_id: str, addresses: Sequence[str], http: httpx.Client) -> JobOutcome:
    """Fetch an outcome while no process is killed; raises httpx.HTTPError."""
    answer = http.get(f"{addresses[0]}/v1/jobs/{job_id}")
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return JobOutcome(state=None)
    job: dict[str, Any] = answer.raise_for_status().json()
    result = None
    if job["state"] == "succeeded":
        found = http.get(f"{addresses[-1]}/v1/jobs/{job_id}/result", params={"format": "json"})
        result = json.loads(found.content) if found.is_success else None
    return JobOutcome(
        state=job["state"],
        error_code=job["error"]["code"] if job["error"] else None,
        attempts=job["attempts"],
        result=result,
    )


def _send_slowly(data: bytes) -> Iterator[bytes]:
    step = -(-len(data) // _SLOW_UPLOAD_CHUNKS)
    for start in range(0, len(data), step):
        time.sleep(_SLOW_UPLOAD_SECONDS / _SLOW_UPLOAD_CHUNKS)
        yield data[start : start + step]


def _is_retryable(answer: httpx.Response) -> bool:
    """Return whether to send the request again: error, overload, or the key is in use."""
    return answer.status_code >= 500 or answer.status_code in (408, 409, 429)
