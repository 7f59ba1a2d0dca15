"""Clients that submit and wait whatever happens to the service, and remember what they hear."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Self

import httpx

from tests.chaos.clips import Clip

ANSWER_SECONDS: Final = 20.0
_FINAL: Final = ("succeeded", "failed", "cancelled")
_PAUSE_SECONDS: Final = 0.3
_LONGEST_PAUSE_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 1.5
"""How often one job is asked for: the gateways share the processors with the work."""
_SLOW_SECONDS: Final = 1.0
_SLOW_PARTS: Final = 5
_ACCEPTED: Final = (200, 202)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One submission: the same key is sent with every try of it.

    is_slow: the clip comes in parts, over a second: whoever is killed meanwhile has some of it.
    """

    number: int
    key: str
    clip: Clip
    is_slow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An order that the service has accepted. tries: requests it took."""

    order: Order
    job_id: str
    moment: float
    tries: int


@dataclass(slots=True)
class Notes:
    """What the clients were told, by whichever thread heard it."""

    accepted: dict[int, Accepted] = field(default_factory=dict[int, Accepted])
    final: dict[str, str] = field(default_factory=dict[str, str])
    """The first final state of a job that anybody was told, by its id."""
    answers: Counter[str] = field(default_factory=Counter[str])
    """How requests were answered: a status, or the name of what broke."""
    rejected: list[str] = field(default_factory=list[str])
    """Answers to a submission that no try will change."""


class Doors:
    """The gateways, as one thread sees them: after trouble it goes to another."""

    def __init__(self, addresses: Sequence[str], notes: Notes, rng: Random) -> None:
        self._addresses = list(addresses)
        self._notes = notes
        self._rng = rng
        self._http = httpx.Client(timeout=ANSWER_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        """An answer of any gateway; None where the connection broke."""
        address = self._rng.choice(self._addresses)
        try:
            answer = self._http.request(method, f"{address}{path}", **request)
        except httpx.TransportError as error:
            self._notes.answers[type(error).__name__] += 1
            return None
        self._notes.answers[str(answer.status_code)] += 1
        return answer


class Crowd:
    """Submits every order once it is accepted, so many open at a time, and waits for all ends."""

    def __init__(
        self,
        addresses: Sequence[str],
        orders: Sequence[Order],
        *,
        submitters: int,
        at_once: int,
        spread_seconds: float = 0.0,
    ) -> None:
        """Args: spread_seconds: what the submissions are spread over, at least."""
        self.notes = Notes()
        self.orders = len(orders)
        self._addresses = addresses
        pause_seconds = spread_seconds / max(len(orders), 1)
        began = time.monotonic()
        self._waiting = deque((began + n * pause_seconds, each) for n, each in enumerate(orders))
        self._open: deque[tuple[float, str]] = deque()
        self._room = threading.Semaphore(at_once)
        self._stop = threading.Event()
        self._submitters = submitters
        self._threads = ThreadPoolExecutor(submitters + 1, thread_name_prefix="client")
        self._running: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._running = [
            *(self._threads.submit(self._submit_on, number) for number in range(self._submitters)),
            self._threads.submit(self._watch),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._threads.shutdown()

    def wait(self, seconds: float, *, on_look: Callable[[], None] = lambda: None) -> bool:
        """Wait for so long at most; whether every order has come to an end.

        What a client's thread has raised is raised here.
        """
        end = time.monotonic() + seconds
        while not self.is_done() and time.monotonic() < end:
            for each in self._running:
                if each.done():
                    each.result()
            on_look()
            time.sleep(0.1)
        return self.is_done()

    def is_done(self) -> bool:
        """Whether every order was accepted, and every job has ended."""
        known = len(self.notes.final) + len(self.notes.rejected)
        return known == self.orders

    def _submit_on(self, number: int) -> None:
        doors = Doors(self._addresses, self.notes, Random(number))
        try:
            while not self._stop.is_set():
                try:
                    due, order = self._waiting.popleft()
                except IndexError:
                    return
                self._stop.wait(due - time.monotonic())
                while not self._room.acquire(timeout=0.2):
                    if self._stop.is_set():
                        return
                self._submit(order, doors)
        finally:
            doors.close()

    def _submit(self, order: Order, doors: Doors) -> None:
        pause, tries = _PAUSE_SECONDS, 0
        while not self._stop.is_set():
            tries += 1
            answer = doors.ask(
                "POST",
                "/v1/jobs",
                params=order.clip.choices,
                content=_send_slowly(order.clip.data) if order.is_slow else order.clip.data,
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(len(order.clip.data)),
                    "Idempotency-Key": order.key,
                },
            )
            if answer is not None and answer.status_code in _ACCEPTED:
                self._note_accepted(order, answer.json()["id"], tries)
                return
            if answer is not None and not _may_change(answer):
                self.notes.rejected.append(f"{order.key}: {answer.status_code} {answer.text[:300]}")
                self._room.release()
                return
            self._stop.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _note_accepted(self, order: Order, job_id: str, tries: int) -> None:
        self.notes.accepted[order.number] = Accepted(
            order=order, job_id=job_id, moment=time.time(), tries=tries
        )
        self._open.append((time.monotonic() + _POLL_SECONDS, job_id))

    def _watch(self) -> None:
        doors = Doors(self._addresses, self.notes, Random(-1))
        try:
            while not self._stop.is_set():
                if not self._open or self._open[0][0] > time.monotonic():
                    self._stop.wait(0.02)
                    continue
                _, job_id = self._open.popleft()
                state = self._look(job_id, doors)
                if state in _FINAL:
                    self.notes.final[job_id] = state
                    self._room.release()
                else:
                    self._open.append((time.monotonic() + _POLL_SECONDS, job_id))
        finally:
            doors.close()

    def _look(self, job_id: str, doors: Doors) -> str | None:
        answer = doors.ask("GET", f"/v1/jobs/{job_id}")
        if answer is None or not answer.is_success:
            return None
        return str(answer.json()["state"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a job stands when nothing is under way any more: what the service says of it.

    state: None where it knows no such job. result: the document of one that has succeeded.
    """

    state: str | None
    error_code: str | None = None
    attempts: int = 0
    result: Mapping[str, Any] | None = None


def read_ending(job_id: str, addresses: Sequence[str], http: httpx.Client) -> Ending:
    """Ask the calm service; raises httpx.HTTPError where it does not answer."""
    answer = http.get(f"{addresses[0]}/v1/jobs/{job_id}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return Ending(state=None)
    job = answer.raise_for_status().json()
    result = None
    if job["state"] == "succeeded":
        found = http.get(f"{addresses[-1]}/v1/jobs/{job_id}/result", params={"format": "json"})
        result = json.loads(found.content) if found.is_success else None
    return Ending(
        state=job["state"],
        error_code=(job["error"] or {}).get("code"),
        attempts=job["attempts"],
        result=result,
    )


def _send_slowly(data: bytes) -> Iterator[bytes]:
    step = -(-len(data) // _SLOW_PARTS)
    for start in range(0, len(data), step):
        time.sleep(_SLOW_SECONDS / _SLOW_PARTS)
        yield data[start : start + step]


def _may_change(answer: httpx.Response) -> bool:
    """Whether another try may be answered otherwise: trouble, overload, or the first under way."""
    return answer.status_code >= 500 or answer.status_code in (408, 409, 429)
