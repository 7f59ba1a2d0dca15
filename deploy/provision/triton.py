"""Provision a Triton server for CPU, outside the environment.

Unpacks it from the PyPI wheel `nvidia-pytriton`, whose dependencies (numpy below 2) are not
installed. Standard library only.

    python -m deploy.provision.triton .runtime/triton
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.provision.download import download_wheel, print_line
from deploy.provision.libpython import find_libpython

VERSION = "0.7.0"
WHEEL_SHA256 = (
    # x86-64, aarch64
    "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df",
    "f99e07ee56fe065337453956afba17d2673e02ec6a632c3de26ce6e7b32a0898",
)
_PYTORCH_BACKEND = Path(__file__).resolve().parents[1] / "triton" / "pytorch"


def main(destination: Path) -> None:
    """Install a server with its backends in `destination`; safe to run again.

    Layout: pytriton/tritonserver/bin/tritonserver, backends/{python,pytorch}, and lib/ with the
    libpython that the Python backend's stub loads.
    """
    if (destination / f"nvidia_pytriton-{VERSION}.dist-info").is_dir():
        print_line(f"Triton is in {destination}.")
    else:
        print_line(f"Unpacking Triton (nvidia-pytriton {VERSION}, 55 MB) into {destination} ...")
        _unpack(destination)
    _assemble_backends(destination)
    _link_libpython(destination)


def _unpack(destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".triton-") as folder:
        part = Path(folder) / "triton"
        wheel = download_wheel(f"nvidia-pytriton=={VERSION}", Path(folder), (), WHEEL_SHA256)
        completed = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"),
                *("--disable-pip-version-check", "--target", part, wheel),
            ],
            check=False,
        )
        if completed.returncode:
            sys.exit(f"nvidia-pytriton {VERSION} could not be installed; see the output above.")
        if destination.exists():
            shutil.rmtree(destination)
        part.rename(destination)


def _assemble_backends(destination: Path) -> None:
    """Copy the `python` backend with this interpreter's stub, and our `pytorch` backend."""
    server = destination / "pytriton" / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        sys.exit(f"This Triton has no stub for Python {version}; use Python 3.11, 3.12 or 3.13.")
    with tempfile.TemporaryDirectory(dir=destination, prefix=".backends-") as folder:
        part = Path(folder) / "backends"
        shutil.copytree(server / "backends" / "python", part / "python")
        shutil.copy2(stub, part / "python")
        (part / "pytorch").mkdir()
        for file in _PYTORCH_BACKEND.glob("*.py"):
            shutil.copy2(file, part / "pytorch")
        backends = destination / "backends"
        if backends.exists():
            shutil.rmtree(backends)
        part.rename(backends)


def _link_libpython(destination: Path) -> None:
    folder = destination / "lib"
    folder.mkdir(exist_ok=True)
    found = find_libpython(folder)
    link = folder / found.name
    if found != link:
        link.unlink(missing_ok=True)
        link.symlink_to(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
