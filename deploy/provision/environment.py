"""Creation of the virtual environment with the project and its pinned dependencies.

Runs before anything is installed: standard library only.

    python3 -m deploy.provision.environment .venv requirements/constraints.txt
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from deploy.provision.packages import install_pinned, run_pip

_MIN_PYTHON_VERSION = (3, 11)
_REFUSED_CHARACTERS = '"$`\\:'
"""What the shell of a console script's first line or a list of folders would take as its own."""
_PROJECTS = ("-e", ".[plot,embedded,training,development]", "-e", "clients/python[live,media]")


def main(environment: Path, constraints: Path) -> None:
    """Create `environment` if needed and install the project; safe to run again."""
    if sys.version_info < _MIN_PYTHON_VERSION:
        sys.exit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
    _require_usable_folder(Path.cwd())
    python = environment / "bin" / "python"
    if not python.exists() or _has_moved(environment):
        _create(environment)
    print("Installing the pinned packages; the first time takes a few minutes ...", flush=True)
    install_pinned(python, constraints)
    run_pip(python, "--no-deps", "--no-build-isolation", *_PROJECTS)
    if subprocess.run([python, "-m", "pip", "check"], capture_output=True, check=False).returncode:
        # a CUDA build of torch needs packages that are not pinned
        run_pip(python, *_PROJECTS)


def _require_usable_folder(folder: Path) -> None:
    """Exit where console scripts could not work: spaces and letters of any script are fine."""
    refused = sorted({c for c in str(folder) if c in _REFUSED_CHARACTERS or not c.isprintable()})
    if refused:
        sys.exit(
            f"This folder cannot be used: {str(folder)!r} has {', '.join(map(repr, refused))} in "
            "its path, which programs installed there cannot bear. Move the checkout."
        )


def _has_moved(environment: Path) -> bool:
    """Check whether the environment was made under another path, where its scripts point."""
    script = environment / "bin" / "pip"
    return script.is_file() and str(environment.absolute()) not in script.read_text()


def _create(environment: Path) -> None:
    print(f"Creating {environment} with Python {sys.version.split()[0]} ...", flush=True)
    try:
        venv.create(environment, with_pip=True, clear=True)
    except (subprocess.CalledProcessError, ImportError):
        sys.exit(
            "This Python cannot create environments with pip in them. "
            "On Debian: apt install python3-venv"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
