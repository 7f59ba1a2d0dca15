"""Files beside the code that have to be installed with it."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_data_file_beside_the_code_is_package_data() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    packaged = {
        file.relative_to(ROOT)
        for package, patterns in declared.items()
        for pattern in patterns
        for file in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    data = {
        path.relative_to(ROOT)
        for package in ("service", "training")
        for pattern in ("*.lua", "*.json", "*.pbtxt")
        for path in (ROOT / package).rglob(pattern)
    }
    assert data
    assert packaged == data
