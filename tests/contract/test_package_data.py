"""Files beside the code that have to be installed with it."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_script_and_template_beside_the_code_is_package_data() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    packaged = {
        file.relative_to(ROOT)
        for package, patterns in declared.items()
        for pattern in patterns
        for file in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    scripts = {path.relative_to(ROOT) for path in (ROOT / "service").rglob("*.lua")}
    templates = {path.relative_to(ROOT) for path in (ROOT / "training").rglob("*.pbtxt")}
    assert scripts
    assert templates
    assert packaged == scripts | templates
