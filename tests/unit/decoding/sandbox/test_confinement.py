"""What a decode child can no longer do, as root and as anybody, whatever it tries."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ALLOWED = {
    *("read a handle", "seek a handle", "copy a handle"),
    *("have memory", "start a thread"),
}
FATAL = {
    *("fork", "run a program", "trace", "read another process"),
    *("make a socket", "make a local socket", "make memory that is a file"),
    *("leave the namespaces", "change the root"),
}
UNPRIVILEGED = "12345"
TEMPORARY = Path(tempfile.gettempdir()).resolve()


def run_attempts(folder: Path, *user: str, launcher: tuple[str, ...] = ()) -> dict[str, Any]:
    (folder / "present").write_bytes(b"something")
    (folder / "present").chmod(0o666)
    folder.chmod(0o777)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            *launcher,
            "tests.unit.decoding.sandbox.escape_attempts",
            str(folder),
            *user,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout)


def make_accessible(folder: Path) -> None:
    """Open a folder of tests and the way to it, from the machine's temporary folder on."""
    for place in (folder, *folder.parents):
        if TEMPORARY in place.parents:
            place.chmod(0o755)


@pytest.fixture(scope="module", params=["as it is", "unprivileged"])
def attempt_report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("folder")
    make_accessible(folder)
    user = (UNPRIVILEGED,) if request.param == "unprivileged" else ()
    return folder, run_attempts(folder, *user)


def lacks_landlock() -> bool:
    """Whether this kernel does not tell its version of Landlock."""
    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) < 1


def lacks_network_namespaces(user: str | None) -> bool:
    """Whether a plain program may not make a network of its own here, as containers forbid."""
    own_user = [] if os.geteuid() == 0 and user is None else ["--user"]
    as_user = {"user": int(user), "extra_groups": []} if user and os.geteuid() == 0 else {}
    command = ["unshare", *own_user, "--net", "true"]
    return (
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL, **as_user).returncode != 0
    )


@pytest.mark.parametrize("user", [None, UNPRIVILEGED])
def test_every_supported_sandbox_layer_is_applied(tmp_path: Path, user: str | None) -> None:
    make_accessible(tmp_path)
    said = run_attempts(tmp_path, *([user] if user else []))
    missing = {"landlock": lacks_landlock(), "network namespace": lacks_network_namespaces(user)}
    assert said["lacking"].keys() == {layer for layer, lacks in missing.items() if lacks}
    assert said["has_left_network"] != missing["network namespace"]


def test_system_calls_a_decoder_needs_are_allowed(
    attempt_report: tuple[Path, dict[str, Any]],
) -> None:
    outcomes = attempt_report[1]["outcomes"]
    assert {name for name, outcome in outcomes.items() if outcome == "done"} == ALLOWED


def test_hostile_system_calls_kill_the_process(attempt_report: tuple[Path, dict[str, Any]]) -> None:
    outcomes = attempt_report[1]["outcomes"]
    assert {name for name, outcome in outcomes.items() if outcome == "SIGSYS"} == FATAL


def test_everything_else_is_refused(attempt_report: tuple[Path, dict[str, Any]]) -> None:
    folder, said = attempt_report
    rest = {said["outcomes"][name] for name in said["outcomes"].keys() - ALLOWED - FATAL}
    assert rest == {"EPERM", "EBADF"}
    assert [file.name for file in folder.iterdir()] == ["present"]
    assert (folder / "present").read_bytes() == b"something"


def test_remaining_layers_apply_on_an_old_kernel(tmp_path: Path) -> None:
    said = run_attempts(tmp_path, launcher=("tests.unit.decoding.sandbox.old_kernel",))
    assert set(said["lacking"]) == {"seccomp", "landlock", "network namespace"}
    outcomes = said["outcomes"]
    assert {name for name in ALLOWED if outcomes[name] == "done"} == ALLOWED
    # by the user that the child became, its limits, and the privileges it gave up
    refused = ["become root", "raise a limit", "change the root"]
    if os.geteuid() == 0:  # else the child is still the user that its parent is
        refused += ["open the memory of the parent", "signal the parent", "leave the namespaces"]
    assert {outcomes[name] for name in refused} <= {"EACCES", "EPERM", "ENOSYS"}
