"""`circumplex-client annotate`: Ctrl-C, SIGTERM, SIGHUP, and output folders that cannot be used."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from circumplex_client.__main__ import main

RUNNING_JOB = (
    b'{"id": "j", "state": "running", "created_at": "2026-01-01T00:00:00Z", "filename": null, '
    b'"progress": {"frames_done": 1, "frames_total": null, "fraction": null}, "error": null}'
)
STOP_SECONDS = 20
"""Far less than the sixty seconds of the client's own time limits."""


@pytest.fixture(autouse=True)
def _hangup_is_not_ignored() -> Iterator[None]:
    """Commands started by a test that runs under nohup end with SIGHUP all the same."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


class EndlessJobHandler(BaseHTTPRequestHandler):
    """Accepts each clip, and says of its job that it is running."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(RUNNING_JOB)))
        self.end_headers()
        self.wfile.write(RUNNING_JOB)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        del format, args


@pytest.fixture
def endless_gateway() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), EndlessJobHandler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def silent_gateway() -> Iterator[str]:
    """A server that takes connections and neither reads nor answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("gateway", ["endless_gateway", "silent_gateway"])
def test_a_signal_stops_the_batch_at_once_and_cleanly(
    tmp_path: Path, gateway: str, number: signal.Signals, request: pytest.FixtureRequest
) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for name in range(9):
        (videos / f"{name}.mp4").write_bytes(bytes(100_000))
    url = request.getfixturevalue(gateway)
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "circumplex_client", "annotate", videos),
            *("-o", out, "--url", url),
        ],
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stderr is not None
        first = command.stderr.readline()
        command.send_signal(number)
        assert command.wait(STOP_SECONDS) == 130
        printed = first + command.stderr.read()
    assert "9 clips" in printed
    assert "same command" in printed
    assert "Traceback" not in printed
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("out", ["file", "file/results", "n" * 300])
def test_an_output_folder_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "a.mp4").touch()
    assert (
        main(["annotate", str(tmp_path), "-o", str(tmp_path / out), "--url", "http://[::1]:9"]) == 2
    )
    assert "cannot be written to" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "four", "²"])
def test_a_number_of_clips_at_once_is_checked(
    capsys: pytest.CaptureFixture[str], count: str
) -> None:
    with pytest.raises(SystemExit):
        main(["annotate", "a.mp4", "-o", "out", "--at-once", count])
    assert "no number of clips" in capsys.readouterr().err
