"""Tests that need recordings of people are collected only where such recordings are at hand."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("REAL_CLIPS") else ["test_expression_on_people.py"]
