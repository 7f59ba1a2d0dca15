"""Licences in the table of `circumplex models list`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.cli.model_rows import list_exported_rows
from service.estimators.repository import EstimatorRepository
from tests.fake_estimators import write_fake_estimator


@pytest.mark.parametrize(
    ("licence", "shown"),
    [
        ("AffectNet-research: no commercial use", "AffectNet-research"),
        ("MIT (one: A. Person; two: B. Person)", "MIT (one: A. Person; two: B. Person)"),
        ("FER (web pictures); two: not published", "FER (web pictures); two: not published"),
    ],
)
def test_licences_are_listed_by_name_or_whole(tmp_path: Path, licence: str, shown: str) -> None:
    write_fake_estimator(tmp_path, "mine")
    file = tmp_path / "mine@1.json"
    licences = {"code": "MIT", "weights": licence, "data": licence}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"licences": licences}))
    (row,) = list_exported_rows(EstimatorRepository(tmp_path))
    assert row[-1] == f"code:MIT, weights:{shown}, data:{shown}"
