"""Installation of pinned packages, each file held to the hashes of the constraints file.

Standard library only. In the container image:

    python3 deploy/provision/packages.py venv/bin/python constraints.txt dependencies.txt
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s\\]+)")


def main(python: Path, constraints: Path, requirements: Path) -> None:
    """Install what a requirements file needs, in the versions and files of `constraints`."""
    names = resolve(python, constraints, ["--requirement", str(requirements)])
    install_pinned(python, constraints, names)


def resolve(python: Path, constraints: Path, requirements: Iterable[str]) -> list[str]:
    """Names of all packages that the arguments of `pip install` need; nothing is installed."""
    with tempfile.TemporaryDirectory() as folder:
        versions, report = Path(folder, "versions.txt"), Path(folder, "report.json")
        versions.write_text("\n".join(f"{n}=={v}" for n, v, _ in _read_pins(constraints)))
        options = ("--dry-run", "--ignore-installed", "--report", str(report))
        run_pip(python, *options, "--constraint", str(versions), *requirements)
        installs: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return [each["metadata"]["name"] for each in installs if not each["is_direct"]]


def install_pinned(python: Path, constraints: Path, names: Iterable[str] | None = None) -> None:
    """Install pinned packages without their dependencies; None: all that are pinned.

    Exits where a file has another hash, or a package has no pin.
    """
    pins = {_normalise(name): pin for name, _, pin in _read_pins(constraints)}
    wanted = pins if names is None else [_normalise(name) for name in names]
    missing = [name for name in wanted if name not in pins]
    if missing:
        sys.exit(f"{constraints} has no pin for {', '.join(missing)}: run `make lock`.")
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder, "requirements.txt")
        chosen.write_text("\n".join(pins[name] for name in wanted))
        # of most packages only wheels have a hash there
        options = ("--require-hashes", "--no-deps", "--prefer-binary")
        run_pip(python, *options, "--requirement", str(chosen))


def run_pip(python: Path, *arguments: str) -> None:
    """Run `pip install`; exits if it fails."""
    completed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *arguments],
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        check=False,
    )
    if completed.returncode:
        sys.exit("The packages could not be installed; see the output above.")


def _read_pins(constraints: Path) -> list[tuple[str, str, str]]:
    """Read name, version and the whole line, hashes included, of each pin."""
    lines = constraints.read_text().replace("\\\n", " ").splitlines()
    return [(found[1], found[2], line) for line in lines if (found := _PIN.match(line))]


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
