"""Partial files of the client: complete or absent, whoever else writes into the folder."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from circumplex_client.partial_files import PartialFiles


def test_two_runs_write_one_target_without_meeting(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)
    with ExitStack() as stack:
        files = [stack.enter_context(PartialFiles().open(target)) for _ in range(2)]
        for number, file in enumerate(files):
            file.write(b"%d" % number)
        assert not target.exists()
    assert target.read_bytes() == b"0"  # the one that was finished last
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_the_former_file(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_bytes(b"former")
    with suppress(ZeroDivisionError), PartialFiles().open(target) as file:
        file.write(b"ha")
        raise ZeroDivisionError
    assert target.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [target]


def test_discarded_files_are_gone_at_once_and_never_appear(tmp_path: Path) -> None:
    partial_files = PartialFiles()
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(InterruptedError))
        stack.enter_context(partial_files.open(tmp_path / "a.csv")).write(b"half")
        partial_files.discard_all()
        assert list(tmp_path.iterdir()) == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InterruptedError), partial_files.open(tmp_path / "b.csv"):
        pytest.fail("a new file was opened")
