"""HTTP server of one file, well-behaved or not; also a forward proxy."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

CONTENT_PATH = "/models/net.onnx"


@dataclass(kw_only=True)
class ServedFile:
    """Content and behaviour of a server, and the requests that came.

    cut_after: bytes after which the connection ends, once. ranges: Range is honoured, ignored, or
    answered with another range. location: of a redirect of every request. length: the
    Content-Length, if it is not that of the content.
    """

    content: bytes
    etag: str = '"first"'
    cut_after: int | None = None
    ranges: Literal["honoured", "ignored", "shifted"] = "honoured"
    status: int = 200
    location: str = ""
    length: int | None = None
    encoding: str = ""
    requests: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    lines: list[str] = field(default_factory=list[str])


class FileHandler(BaseHTTPRequestHandler):
    """Answers requests for the file, by path or, as a proxy, by URL."""

    def do_GET(self) -> None:
        file = self._get_file()
        file.requests.append(dict(self.headers.items()))
        file.lines.append(self.path)
        if file.location:
            self._start(302, b"", {"Location": file.location})
            return
        if file.status != 200:
            self._start(file.status, b"no", {})
            return
        start = self._find_start(file)
        if start is None:
            self._start(200, file.content, {"ETag": file.etag})
        elif start >= len(file.content):
            self._start(416, b"", {"Content-Range": f"bytes */{len(file.content)}"})
        else:
            first = start + 1 if file.ranges == "shifted" else start
            size = len(file.content)
            content_range = f"bytes {first}-{size - 1}/{size}"
            headers = {"ETag": file.etag, "Content-Range": content_range}
            self._start(206, file.content[first:], headers)

    def _get_file(self) -> ServedFile:
        assert isinstance(self.server, FileServer)
        return self.server.file

    def _find_start(self, file: ServedFile) -> int | None:
        """First byte of a range that is to be honoured."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found is None or file.ranges == "ignored":
            return None
        return int(found[1]) if self.headers.get("If-Range", file.etag) == file.etag else None

    def _start(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        file = self._get_file()
        self.send_response(status)
        length = len(body) if file.length is None else file.length
        self.send_header("Content-Length", str(length))
        if file.encoding:
            self.send_header("Content-Encoding", file.encoding)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        cut, file.cut_after = file.cut_after, None
        self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        del format, args


class FileServer(ThreadingHTTPServer):
    """Server of a `ServedFile`."""

    def __init__(self, file: ServedFile) -> None:
        super().__init__(("127.0.0.1", 0), FileHandler)
        self.file = file

    @property
    def url(self) -> str:
        """URL of the file."""
        return f"http://127.0.0.1:{self.server_port}{CONTENT_PATH}"


@contextmanager
def serving(file: ServedFile, tls: ssl.SSLContext | None = None) -> Generator[FileServer]:
    """Run a server."""
    with FileServer(file) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
