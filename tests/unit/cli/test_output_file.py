"""Output files of the commands: complete or absent, and refused before the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.cli.output_file import open_output
from service.errors import OutputNotWritable

LONGEST_NAME = "n" * 251 + ".csv"


@pytest.fixture(autouse=True)
def _hangup_is_not_ignored() -> Iterator[None]:
    """Commands started by a test that runs under nohup end with SIGHUP all the same."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


@pytest.mark.parametrize("name", ["result.csv", LONGEST_NAME, "new/folder/Übung 1.csv"])
def test_content_appears_at_the_end_under_its_name(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    with open_output(target) as file:
        file.write(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_run_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "result.csv"
    target.write_bytes(b"former")
    with suppress(ZeroDivisionError), open_output(target) as file:
        file.write(b"ha")
        raise ZeroDivisionError
    assert target.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_keeps_its_name_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    link = tmp_path / "link.csv"
    link.symlink_to("other/target.csv")
    with open_output(link) as file:
        file.write(b"whole")
    assert link.is_symlink()
    assert (tmp_path / "other" / "target.csv").read_bytes() == b"whole"


def test_a_pipe_is_written_to_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    with open_output(pipe) as file:
        file.write(b"whole")
    reader.join()
    assert received == [b"whole"]


@pytest.mark.parametrize("name", ["folder", "file/result.csv", "x" + LONGEST_NAME, "loop.csv"])
def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(OutputNotWritable, match="cannot be written"), open_output(tmp_path / name):
        pytest.fail("the work has begun")


INTERRUPTED_COMMAND = """
import os, sys
from pathlib import Path
from service.cli.console import stop_on_signals
from service.cli.output_file import open_output

stop_on_signals()
with open_output(Path(sys.argv[1])) as file:
    file.write(b"half")
    os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_half_file(tmp_path: Path, number: signal.Signals) -> None:
    command = (sys.executable, "-c", INTERRUPTED_COMMAND, str(tmp_path / "result.csv"))
    subprocess.run((*command, str(int(number))), check=False, capture_output=True)
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    target = tmp_path / "result.csv"
    command = (sys.executable, "-c", INTERRUPTED_COMMAND, str(target), str(int(signal.SIGHUP)))
    subprocess.run(("nohup", *command), check=True, capture_output=True)
    assert target.read_bytes() == b"half"
