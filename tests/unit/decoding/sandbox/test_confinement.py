"""Confinement of a decode process against escape attempts, as root and as another user."""

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
    completed = subprocess.run(
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
    return json.loads(completed.stdout)


def make_accessible(folder: Path) -> None:
    """Open a folder of tests and its parents, from the machine's temporary folder on."""
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
    """Return whether this kernel has no Landlock."""
    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) < 1


def lacks_network_namespaces(user: str | None) -> bool:
    """Return whether programs may not make a network namespace, as in many containers."""
    user_namespace = [] if os.geteuid() == 0 and user is None else ["--user"]
    changes_user = user is not None and os.geteuid() == 0
    process = subprocess.run(
        ["unshare", *user_namespace, "--net", "true"],
        check=False,
        stderr=subprocess.DEVNULL,
        user=int(user) if user is not None and changes_user else None,
        extra_groups=() if changes_user else None,
    )
    return process.returncode != 0


@pytest.mark.parametrize("user", [None, UNPRIVILEGED])
def test_every_supported_sandbox_layer_is_applied(tmp_path: Path, user: str | None) -> None:
    make_accessible(tmp_path)
    report = run_attempts(tmp_path, *([user] if user else []))
    missing = {"landlock": lacks_landlock(), "network namespace": lacks_network_namespaces(user)}
    assert report["missing_layers"].keys() == {layer for layer, lacks in missing.items() if lacks}
    assert report["has_left_network"] != missing["network namespace"]


def test_system_calls_a_decoder_needs_are_allowed(
    attempt_report: tuple[Path, dict[str, Any]],
) -> None:
    outcomes = attempt_report[1]["outcomes"]
    assert {name for name, outcome in outcomes.items() if outcome == "done"} == ALLOWED


def test_hostile_system_calls_kill_the_process(attempt_report: tuple[Path, dict[str, Any]]) -> None:
    outcomes = attempt_report[1]["outcomes"]
    assert {name for name, outcome in outcomes.items() if outcome == "SIGSYS"} == FATAL


def test_other_escape_attempts_fail_without_effect(
    attempt_report: tuple[Path, dict[str, Any]],
) -> None:
    folder, report = attempt_report
    rest = {report["outcomes"][name] for name in report["outcomes"].keys() - ALLOWED - FATAL}
    assert rest == {"EPERM", "EBADF"}
    assert [file.name for file in folder.iterdir()] == ["present"]
    assert (folder / "present").read_bytes() == b"something"


def test_remaining_layers_apply_on_an_old_kernel(tmp_path: Path) -> None:
    report = run_attempts(tmp_path, launcher=("tests.unit.decoding.sandbox.old_kernel",))
    assert set(report["missing_layers"]) == {"seccomp", "landlock", "network namespace"}
    outcomes = report["outcomes"]
    assert {name for name in ALLOWED if outcomes[name] == "done"} == ALLOWED
    # by the user that the process became, its limits, and the privileges it gave up
    refused = ["become root", "raise a limit", "change the root"]
    if os.geteuid() == 0:  # else the process still has the user of its parent
        refused += ["open the memory of the parent", "signal the parent", "leave the namespaces"]
    assert {outcomes[name] for name in refused} <= {"EACCES", "EPERM", "ENOSYS"}
