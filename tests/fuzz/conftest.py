"""Fixtures of the fuzz tests."""

from __future__ import annotations

import pytest

from tests.fuzz.seeds import Seed, make_seeds


@pytest.fixture(scope="session")
def seeds() -> tuple[Seed, ...]:
    return make_seeds()
