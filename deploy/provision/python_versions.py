"""Tests on other versions of Python than the project's own environment.

    python -m deploy.provision.python_versions 3.12 3.13

For each version: an environment in .runtime/python-<version> with the pinned packages except torch
(its CPU build is available for one version only), and the unit tests that do not import torch, with
their coverage of the service. The full suite runs on the version of `.venv`, by `make coverage`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from deploy.provision.packages import install_pinned, resolve, run_pip

ENVIRONMENTS: Final = Path(".runtime")
CONSTRAINTS: Final = Path("requirements/constraints.txt")
PACKAGES: Final = ("-e", ".[plot,embedded,testing]", "-e", "clients/python[live,media]")
UNIT_TESTS: Final = Path("tests/unit")
NEEDING_TORCH: Final = ("bench", "e2e_eval", "faces", "importers", "synthetic", "training")
"""Folders of unit tests that train, export or draw with torch."""


def main(versions: list[str]) -> None:
    """Run the tests on each version; exit with the first failure's status."""
    if not versions:
        sys.exit("name the versions: 3.12 3.13")
    for version in versions:
        python = _create_environment(version, _find_interpreter(version))
        print(f"Testing on Python {version} ...", flush=True)
        # the interpreter's own monitoring costs next to nothing, unlike a trace function
        environment = os.environ | {"COVERAGE_CORE": "sysmon"}
        ended = subprocess.run([python, *_build_pytest_command()], env=environment, check=False)
        if ended.returncode:
            sys.exit(ended.returncode)


def _find_interpreter(version: str) -> str:
    """Find an interpreter on PATH or among pyenv's; exit where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [
        *(str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)),
        shutil.which(f"python{version}"),
    ]
    for candidate in candidates:
        if candidate is not None and _is_version(candidate, version):
            return candidate
    sys.exit(f"There is no Python {version} here: install it, or name the versions there are.")


def _is_version(interpreter: str, version: str) -> bool:
    code = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
    answer = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() == version


def _create_environment(version: str, interpreter: str) -> Path:
    """Create the environment, or renew it when the pins have changed; return its interpreter."""
    folder = ENVIRONMENTS / f"python-{version}"
    python, installed_pins = folder / "bin" / "python", folder / ".constraints"
    # the folder too: an environment that was moved with its checkout points to the old one
    pins = f"{Path.cwd()}\n{CONSTRAINTS.read_text()}{Path('pyproject.toml').read_text()}"
    if installed_pins.is_file() and installed_pins.read_text() == pins:
        return python
    print(f"Installing the pinned packages for Python {version} ...", flush=True)
    subprocess.run([interpreter, "-m", "venv", "--clear", folder], check=True)
    names = resolve(python, CONSTRAINTS, PACKAGES)
    install_pinned(python, CONSTRAINTS, [*names, "setuptools"])
    run_pip(python, "--no-deps", "--no-build-isolation", *PACKAGES)
    installed_pins.write_text(pins)
    return python


def _build_pytest_command() -> list[str]:
    folders = sorted(path for path in UNIT_TESTS.iterdir() if any(path.rglob("test_*.py")))
    chosen = [str(path) for path in folders if path.name not in NEEDING_TORCH]
    alone = [str(path) for path in UNIT_TESTS.glob("test_*.py")]
    # the conftest above the unit tests exports models, with torch
    options = (f"--confcutdir={UNIT_TESTS}", "-n", "2", "--cov=service", "--cov-report=term")
    return ["-m", "pytest", *options, *chosen, *alone]


if __name__ == "__main__":
    main(sys.argv[1:])
