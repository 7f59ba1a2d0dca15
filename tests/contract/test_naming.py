"""Naming rules of CONTRIBUTING.md, checked for every name and docstring of the tree."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Metaphors that names must not contain; CONTRIBUTING.md has the plain words.
FORBIDDEN_WORDS = frozenset(
    """
    belief believe caretaker company cradle desk door doors gate gone guest heard hear hearing kept
    least lifeline most nurse nursery office patience pulse rooms said say says sight tell tells
    told visit whose wishes
    """.split()  # noqa: SIM905 - a paragraph of words reads better than a list of strings
)
# A docstring begins with a noun or a verb, not with a question word.
FORBIDDEN_OPENING = re.compile(
    r"(All that|Everybody|How|Nobody|So|That|The same|Those|What|Where|Whether|Who|Whose|Whoever)\b"
)


def list_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return [ROOT / name for name in listed if "_pb2" not in name and (ROOT / name).is_file()]


FILES = list_files()


def iterate_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that the module defines, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield node.lineno, name
            case ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case _:
                pass


def iterate_docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every docstring, with the line of what it describes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield getattr(node, "lineno", 1), docstring


def split_words(name: str) -> set[str]:
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
    return set(parts)


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in FILES
    }


def test_names_contain_no_forbidden_words(trees: dict[str, ast.Module]) -> None:
    violations = [
        f"{file}:{line}: {name}"
        for file, tree in trees.items()
        for line, name in iterate_names(tree)
        if split_words(name) & FORBIDDEN_WORDS and not name.startswith("test_")
    ]
    assert violations == []


def test_docstrings_begin_with_a_noun_or_a_verb(trees: dict[str, ast.Module]) -> None:
    violations = [
        f"{file}:{line}: {docstring.splitlines()[0]}"
        for file, tree in trees.items()
        for line, docstring in iterate_docstrings(tree)
        if FORBIDDEN_OPENING.match(docstring)
    ]
    assert violations == []


def test_a_class_name_occurs_once(trees: dict[str, ast.Module]) -> None:
    files: dict[str, list[str]] = defaultdict(list)
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                files[node.name].append(file)
    assert {name: found for name, found in files.items() if len(found) > 1} == {}


def test_every_suppression_of_a_check_has_its_reason() -> None:
    form = re.compile(r"# noqa: [A-Z0-9, ]+ - \S|# pyright: ignore\[[A-Za-z, ]+\]  # \S")
    violations = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"# (noqa|pyright: ?ignore|type: ?ignore)", line) and not form.search(line)
    ]
    # this module contains the patterns themselves
    assert [each for each in violations if "test_naming.py" not in each] == []
