"""Set-up in folders with unusual names: spaces and accents work, what cannot work is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
UNUSUAL_NAME: Final = "Grüße mit  Leerzeichen & 'Zitat' #1 100% (日本)"
STAMP: Final = ".venv/.installed"

SMALL_PROJECT: Final = """
[build-system]
requires = ["setuptools==84.2.1"]
build-backend = "setuptools.build_meta"
[project]
name = "{name}"
version = "0"
[project.optional-dependencies]
{extras}
[project.scripts]
{name} = "{module}:main"
[tool.setuptools]
py-modules = ["{module}"]
"""


def create_checkout(folder: Path) -> None:
    """The project's own set-up, with packages of one module in place of the real ones."""
    shutil.copytree(ROOT / "deploy" / "provision", folder / "deploy" / "provision")
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "requirements").mkdir()
    constraints = (ROOT / "requirements" / "constraints.txt").read_text()
    [pin] = re.findall(r"^setuptools==.*(?:\n    .*)*", constraints, re.MULTILINE)
    (folder / "requirements" / "constraints.txt").write_text(f"{pin}\n")
    packages = {
        folder: ("circumplex", ("plot", "embedded", "training", "development")),
        folder / "clients" / "python": ("circumplex-client", ("live", "media")),
    }
    for place, (name, extras) in packages.items():
        module = name.replace("-", "_")
        place.mkdir(parents=True, exist_ok=True)
        lines = "\n".join(f"{extra} = []" for extra in extras)
        text = SMALL_PROJECT.format(name=name, module=module, extras=lines)
        (place / "pyproject.toml").write_text(text)
        (place / f"{module}.py").write_text("def main(): print(__file__)\n")


def make(folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", target, f"PYTHON={sys.executable}"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=False,
    )


def run_script(folder: Path, name: str) -> Path:
    command = [folder / ".venv" / "bin" / name]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


def test_set_up_works_in_a_folder_with_spaces_and_accents_and_after_a_move(tmp_path: Path) -> None:
    folder = tmp_path / UNUSUAL_NAME
    create_checkout(folder)
    made = make(folder, STAMP)
    assert made.returncode == 0, made.stderr
    assert run_script(folder, "circumplex") == folder / "circumplex.py"
    assert "up to date" in make(folder, STAMP).stdout

    moved = folder.rename(tmp_path / f"moved {UNUSUAL_NAME}")
    assert make(moved, STAMP).returncode == 0
    assert run_script(moved, "circumplex") == moved / "circumplex.py"


@pytest.mark.parametrize("character", ['"', "$", "`", "\\", ":", "\n"])
def test_a_folder_that_cannot_work_is_refused_at_once(tmp_path: Path, character: str) -> None:
    folder = tmp_path / f"a{character}b"
    create_checkout(folder)
    refused = make(folder, "setup")
    assert refused.returncode
    assert f"has {character!r} in its path" in refused.stderr
    assert "Move the checkout" in refused.stderr
    assert not (folder / ".venv").exists()


def test_a_package_with_another_hash_is_refused(tmp_path: Path) -> None:
    create_checkout(tmp_path)
    constraints = tmp_path / "requirements" / "constraints.txt"
    digits = re.compile(r"(?<=sha256:)[0-9a-f]{64}")
    constraints.write_text(digits.sub("0" * 64, constraints.read_text()))
    refused = make(tmp_path, STAMP)
    assert refused.returncode
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert not (tmp_path / STAMP).exists()
