"""The client: submit a clip, wait for its job, fetch its result."""

from __future__ import annotations

import mimetypes
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import httpx

from circumplex_client.errors import (
    JobFailed,
    Problem,
    RequestRefused,
    ServiceTroubled,
    Unreachable,
    WaitTimedOut,
)
from circumplex_client.values import Choices, Job, Result

KEY_VARIABLE: Final = "CIRCUMPLEX_API_KEY"
CHUNK_BYTES: Final = 2**18
FIRST_POLL_SECONDS: Final = 0.1
TROUBLE_SECONDS: Final = 60.0
"""For how long `wait` bears a service that does not answer or is in trouble."""

OnUpload = Callable[[int, int], None]
"""Called with the bytes sent and the clip's bytes."""
OnProgress = Callable[[Job], None]


class Client:
    """A gateway at `base_url`. Threads may share a client.

    api_key: what the gateway's operator handed out; without it, the variable CIRCUMPLEX_API_KEY.
    """

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout_seconds: float = 60.0
    ) -> None:
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
        on_upload: OnUpload | None = None,
    ) -> Job:
        """Stream a clip to the service; returns its queued job."""
        clip = Path(path)
        media_type, _ = mimetypes.guess_type(clip.name)
        if media_type is None or not media_type.startswith(("video/", "audio/")):
            media_type = "application/octet-stream"
        name = clip.name.replace("\\", "_").replace('"', "_")
        headers = {
            b"Content-Type": media_type.encode(),
            b"Content-Length": str(clip.stat().st_size).encode(),
            b"Content-Disposition": f'attachment; filename="{name}"'.encode(errors="replace"),
        }
        content = _chunks(clip, on_upload)
        query = (choices or Choices()).to_query()
        answer = self._ask("POST", "/v1/jobs", params=query, content=content, headers=headers)
        return Job.read(answer.json())

    def job(self, job_id: str) -> Job:
        """The job as it stands."""
        return Job.read(self._ask("GET", f"/v1/jobs/{job_id}").json())

    def wait(
        self,
        job_id: str,
        *,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
    ) -> Job:
        """Poll until the job has succeeded; raises JobFailed or WaitTimedOut.

        Short interruptions of the service are borne.
        """
        started = heard = time.monotonic()
        pause = FIRST_POLL_SECONDS
        while True:
            try:
                answer = self._ask("GET", f"/v1/jobs/{job_id}")
            except (Unreachable, ServiceTroubled):
                if time.monotonic() - heard > TROUBLE_SECONDS:
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

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(f"{self._http.base_url} cannot be reached: {str(error) or repr(error)}")


def _chunks(clip: Path, on_upload: OnUpload | None) -> Iterator[bytes]:
    size, sent = clip.stat().st_size, 0
    with clip.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            sent += len(chunk)
            if on_upload is not None:
                on_upload(sent, size)


def _succeeded(job: Job) -> Job:
    if job.error is not None:
        raise JobFailed(job.error)
    return job


def _raise_for(answer: httpx.Response) -> None:
    try:
        problem = Problem.read(answer.json())
    except (ValueError, KeyError, TypeError) as error:
        raise Unreachable(f"{answer.url} answers {answer.status_code} without a problem") from error
    raise (RequestRefused if answer.status_code < 500 else ServiceTroubled)(problem)
