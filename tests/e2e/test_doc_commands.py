"""Blocks of the documents that are marked `run` work against a whole stack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import av
import pytest

from service.embedded.stack import Stack, settings_to_environment
from tests.documents import DOCUMENTS, ROOT, CodeBlock, find_code_blocks

RUNNABLE = {
    document: blocks
    for document in DOCUMENTS
    if (blocks := [block for block in find_code_blocks(document) if block.mark == "run"])
}
PROGRAMS = {
    "circumplex": "service",
    "circumplex-client": "circumplex_client",
}


def make_program(folder: Path, name: str, command: str) -> None:
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o755)


def remux(source: Path, target: Path) -> None:
    """Copy the streams of a clip into another container, as they are."""
    with av.open(source) as clip, av.open(target, "w") as opened:
        copy = cast(Any, opened)  # PyAV leaves the types of writing open
        streams = {each: copy.add_stream_from_template(each) for each in clip.streams}
        for packet in clip.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                copy.mux(packet)


def to_script(block: CodeBlock) -> str:
    """Convert a block to a part of the one shell script that runs its whole document."""
    title = f"echo '--- {block.place}' >&2"
    if block.language == "python":
        return f"{title}\npython - <<'PYTHON'\n{block.text}\nPYTHON"
    return f"{title}\n{block.text}"


def prepare_folder(folder: Path, clip: Path) -> None:
    """Fill an empty folder with the clips and the commands that the blocks use."""
    programs = folder / "bin"
    for each in (programs, folder / "videos"):
        each.mkdir()
    for name, module in PROGRAMS.items():
        make_program(programs, name, f"{sys.executable} -m {module}")
    make_program(programs, "python", sys.executable)
    curl = shutil.which("curl")
    assert curl, "curl is not installed"
    make_program(programs, "curl", f"{curl} --fail-with-body")
    for copy in ("talk.mp4", "videos/talk.mp4"):
        shutil.copy(clip, folder / copy)
    remux(clip, folder / "talk.mkv")


@pytest.mark.parametrize("document", RUNNABLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_runnable_blocks_of_a_document_succeed(
    document: Path, stack: Stack, address: str, target: str, talking_clip: Path, tmp_path: Path
) -> None:
    prepare_folder(tmp_path, talking_clip)
    script = "\n".join(["set -euo pipefail", *map(to_script, RUNNABLE[document])])
    for written, real in (
        ("127.0.0.1:8080", address.removeprefix("http://")),
        ("127.0.0.1:50051", target),
        (".venv/bin/", ""),
    ):
        script = script.replace(written, real)
    variables = settings_to_environment(stack.settings) | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'clients' / 'python'}:{ROOT / 'proto'}",
    }
    completed = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
