"""Download of a file over HTTPS, continued where an earlier one was cut.

The bytes so far are kept in `<target>.part`, with the address and the ETag beside them. The
environment's proxies (HTTPS_PROXY, NO_PROXY and their like) are used unless one is named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final

import httpx

from service.errors import ModelDownloadFailed, ModelFileMissing, ModelFileTooLarge
from service.model_catalogue.entries import check_address
from service.model_catalogue.pulled_files import OnProgress
from service.telemetry.redaction import redact

MAX_REDIRECTS: Final = 5
TIMEOUT_SECONDS: Final = 30.0
"""Of connecting, and of each pause within the transfer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord:
    """Origin of the bytes of a part: address, and the ETag of a strong validator or nothing."""

    url: str
    etag: str = ""


class RangeRefused(Exception):
    """The server does not continue this part; it has to be fetched from its beginning."""


def download_file(
    url: str,
    part: Path,
    *,
    max_bytes: int,
    proxy: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    on_progress: OnProgress | None = None,
) -> None:
    """Fetch a file of at most `max_bytes` into `part`, continuing what is there.

    Raises: ModelDownloadFailed: no connection, a refusal, or a cut; the bytes so far are kept.
        ModelFileTooLarge: nothing is kept. ModelFileMissing: the part cannot be written.
    """
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file, _open_client(proxy, timeout_seconds) as client:
            transfer = Transfer(client, url, part, file, max_bytes, on_progress)
            try:
                transfer.run(resume=True)
            except RangeRefused:
                transfer.run(resume=False)
    except OSError as error:
        raise ModelFileMissing(f"{part}: {error.strerror}") from error


def remove_part(part: Path) -> None:
    """Remove a part and its record."""
    part.unlink(missing_ok=True)
    _get_record_path(part).unlink(missing_ok=True)


@contextmanager
def _open_client(proxy: str | None, timeout_seconds: float) -> Generator[httpx.Client]:
    headers = {"User-Agent": "circumplex", "Accept": "*/*", "Accept-Encoding": "identity"}
    try:
        client = httpx.Client(proxy=proxy, timeout=timeout_seconds, headers=headers)
    except (ValueError, httpx.InvalidURL, ImportError) as error:
        named = "the environment's proxies" if proxy is None else redact(proxy)
        raise ModelDownloadFailed(f"{named} cannot be used: {redact(str(error))}") from error
    with client:
        yield client


class Transfer:
    """Transfer of one file into its part."""

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        part: Path,
        file: IO[bytes],
        max_bytes: int,
        on_progress: OnProgress | None,
    ) -> None:
        self._client = client
        self._url = url
        self._part = part
        self._file = file
        self._max_bytes = max_bytes
        self._on_progress = on_progress

    def run(self, *, resume: bool) -> None:
        """Fetch the file. Raises: RangeRefused, if `resume`; as `download_file`."""
        record = _read_record(self._part)
        offset = self._part.stat().st_size if resume and record.url == self._url else 0
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if offset and record.etag:
            headers["If-Range"] = record.etag
        try:
            with self._open_response(headers) as response:
                if response.status_code == HTTPStatus.PARTIAL_CONTENT and offset:
                    total = _read_range(response, offset, record)
                else:
                    total = self._begin(response, resume=offset > 0)
                self._receive(response, total)
        except httpx.HTTPError as error:
            stored = self._part.stat().st_size
            detail = redact(str(error)) or type(error).__name__
            rest = f"; {stored:,} bytes are kept, and the next call continues" if stored else ""
            raise ModelDownloadFailed(f"{_get_host(self._url)}: {detail}{rest}") from error

    @contextmanager
    def _open_response(self, headers: dict[str, str]) -> Generator[httpx.Response]:
        """Send the request, following redirects from https to https only."""
        request = self._client.build_request("GET", self._url, headers=headers)
        for _ in range(MAX_REDIRECTS + 1):
            response = self._client.send(request, stream=True)
            try:
                following = response.next_request
                if following is None:
                    yield response
                    return
                _check_redirect(request.url, following.url)
                request = following
            finally:
                response.close()
        raise ModelDownloadFailed(f"{_get_host(self._url)} redirects in circles")

    def _begin(self, response: httpx.Response, *, resume: bool) -> int | None:
        """Begin the part anew; returns the size of the file if it is known."""
        if resume and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise RangeRefused
        if response.status_code != HTTPStatus.OK:
            raise ModelDownloadFailed(
                f"{response.url.host} answers {response.status_code} {response.reason_phrase}"
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ModelDownloadFailed(f"{response.url.host} sends the file in another encoding")
        self._file.truncate(0)
        etag = response.headers.get("ETag", "")
        record = PartRecord(url=self._url, etag=etag if etag.startswith('"') else "")
        document = json.dumps({"url": record.url, "etag": record.etag})
        _get_record_path(self._part).write_text(document + "\n", encoding="utf-8")
        length = response.headers.get("Content-Length", "")
        return int(length) if re.fullmatch(r"[0-9]{1,15}", length) else None

    def _receive(self, response: httpx.Response, total: int | None) -> None:
        """Append the body."""
        size = self._part.stat().st_size
        for chunk in response.iter_raw():
            size += len(chunk)
            if max(size, total or 0) > self._max_bytes:
                break
            self._file.write(chunk)
            self._file.flush()
            if self._on_progress is not None:
                self._on_progress(size, total)
        if max(size, total or 0) > self._max_bytes:
            remove_part(self._part)
            raise ModelFileTooLarge(
                f"{_get_host(self._url)} sends {max(size, total or 0):,} bytes or more; at most "
                f"{self._max_bytes:,} are accepted"
            )
        if total is not None and size < total:
            raise httpx.ReadError(f"{size:,} of {total:,} bytes came")


def _read_range(response: httpx.Response, offset: int, record: PartRecord) -> int | None:
    """Return the size of the whole file. Raises: RangeRefused: the answer does not continue it."""
    pattern = r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15}|\*)"
    found = re.fullmatch(pattern, response.headers.get("Content-Range", ""))
    etag = response.headers.get("ETag", record.etag)
    if found is None or int(found[1]) != offset or (record.etag and etag != record.etag):
        raise RangeRefused
    return None if found[2] == "*" else int(found[2])


def _check_redirect(source: httpx.URL, target: httpx.URL) -> None:
    try:
        check_address(str(target))
    except ValueError as error:
        raise ModelDownloadFailed(f"{source.host} redirects elsewhere: {error}") from error
    if source.scheme == "https" and target.scheme != "https":
        raise ModelDownloadFailed(f"{source.host} redirects from https to {target.scheme}")


def _read_record(part: Path) -> PartRecord:
    try:
        document = json.loads(_get_record_path(part).read_text(encoding="utf-8"))
        return PartRecord(url=str(document["url"]), etag=str(document["etag"]))
    except (OSError, ValueError, LookupError, TypeError):
        return PartRecord(url="")


def _get_record_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _get_host(url: str) -> str:
    return httpx.URL(url).host
