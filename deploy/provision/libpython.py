"""Search for the shared library of the running Python, which Debian packages separately."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_LIBRARY_NAME = f"libpython{_VERSION}.so.1.0"
_LOADER_TOOLS = ("ldconfig", "/sbin/ldconfig", "/usr/sbin/ldconfig")


def find_libpython(folder: Path) -> Path:
    """Return the path of `libpython3.X.so.1.0`; downloads it into `folder` if it is missing."""
    found = _find_beside_interpreter() or _find_in_loader_cache()
    if found is not None:
        return found
    fetched = folder / _LIBRARY_NAME
    if not (fetched.is_file() and not fetched.is_symlink()):
        _fetch(fetched)
    return fetched


def _find_beside_interpreter() -> Path | None:
    folders = [Path(sys.base_prefix) / "lib"]
    library = sysconfig.get_config_var("LIBDIR")
    if library:
        folders += [Path(library), Path(library) / str(sysconfig.get_config_var("MULTIARCH"))]
    return next(
        (folder / _LIBRARY_NAME for folder in folders if (folder / _LIBRARY_NAME).is_file()), None
    )


def _find_in_loader_cache() -> Path | None:
    tool = next((tool for tool in _LOADER_TOOLS if shutil.which(tool)), None)
    if tool is None:
        return None
    listed = subprocess.run([tool, "-p"], capture_output=True, text=True, check=False).stdout
    paths = (line.rpartition(" => ")[2] for line in listed.splitlines() if _LIBRARY_NAME in line)
    return next((Path(path) for path in paths if Path(path).is_file()), None)


def _fetch(target: Path) -> None:
    """Extract the library from the distribution's package; no step needs root."""
    package = f"libpython{_VERSION}"
    advice = f"{_LIBRARY_NAME} is missing. On Debian: apt install {package}"
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        sys.exit(advice)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".libpython-") as folder:
        downloaded = subprocess.run(
            ["apt-get", "download", package], cwd=folder, capture_output=True, check=False
        )
        archive = next(Path(folder).glob("*.deb"), None)
        if downloaded.returncode or archive is None:
            sys.exit(advice)
        subprocess.run(["dpkg-deb", "-x", archive, f"{folder}/content"], check=True)
        library = next(Path(folder, "content").rglob(_LIBRARY_NAME), None)
        if library is None:
            sys.exit(advice)
        # The name may be a symbolic link: copy its target.
        shutil.copy2(library.resolve(), f"{folder}/{_LIBRARY_NAME}")
        target.unlink(missing_ok=True)
        Path(folder, _LIBRARY_NAME).rename(target)
