"""Commands and snippets of the documents name targets, options and modules that exist.

A shell block carries a mark behind its language: `run` (tests/e2e/test_doc_commands.py runs it
against a stack) or `not-run: REASON`. Blocks of either mark are checked here.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import io
import re
import runpy
import shlex
import sys
import warnings
from collections.abc import Iterator

import pytest

from tests.documents import DOCUMENTS, ROOT, CodeBlock, find_code_blocks

BLOCKS = [block for document in DOCUMENTS for block in find_code_blocks(document)]
SHELL_BLOCKS = [block for block in BLOCKS if block.language in ("sh", "bash", "shell", "console")]
PYTHON_BLOCKS = [block for block in BLOCKS if block.language == "python"]
MARK = re.compile(r"run|not-run: \S.*")
PROGRAMS = {"circumplex": "service", "circumplex-client": "circumplex_client"}
COMMAND_WORDS = {"service": 1, "circumplex_client": 1, "training": 1}
"""Number of words after each module that select a command; `keys` and `models` take one more."""
OWN_PACKAGES = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}


def place(block: CodeBlock) -> str:
    return block.place


def split_commands(block: CodeBlock) -> Iterator[list[str]]:
    """Yield the words of every simple command, without the variables set before it."""
    text = block.text.replace("\\\n", " ")
    lexer = shlex.shlex(text.replace("\n", " ; "), posix=True, punctuation_chars=";|&()")
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&()<>")
        lexer.whitespace_split = True
        words = list[str]()
        for word in (*lexer, ";"):
            if set(word) <= set(";|&()"):
                while words and re.match(r"\w+=", words[0]):
                    words.pop(0)
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def find_module(words: list[str]) -> tuple[str, list[str]] | None:
    """The module that a command runs, and its arguments."""
    program = words[0].rpartition("/")[2]
    if program in PROGRAMS:
        return PROGRAMS[program], words[1:]
    if program in ("python", "python3") and words[1:2] == ["-m"]:
        return words[2], words[3:]
    return None


def read_help(module: str, arguments: list[str]) -> str:
    depth = COMMAND_WORDS.get(module, 0) + (arguments[:1] in (["keys"], ["models"]))
    output, argv = io.StringIO(), sys.argv
    sys.argv = [module, *arguments[:depth], "--help"]
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(output),
            contextlib.suppress(SystemExit),
        ):
            warnings.simplefilter("ignore")
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sys.argv = argv
    return output.getvalue()


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=place)
def test_shell_block_is_marked_run_or_not_run(block: CodeBlock) -> None:
    assert MARK.fullmatch(block.mark), f"{block.place}: mark it `run` or `not-run: REASON`"


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=place)
def test_make_targets_exist(block: CodeBlock) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in split_commands(block):
        if words[0] == "make":
            named = {word for word in words[1:] if "=" not in word and not word.startswith("-")}
            assert named <= targets, block.place


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=place)
def test_options_of_our_commands_exist(block: CodeBlock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    for words in split_commands(block):
        found = find_module(words)
        if found is None or found[0].partition(".")[0] not in (*OWN_PACKAGES, "circumplex_client"):
            continue
        module, arguments = found
        options = {word.partition("=")[0] for word in arguments if word.startswith("-")} - {"-"}
        text = read_help(module, arguments)
        assert text, f"{block.place}: {module} has no help"
        for option in options:
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{block.place}: {option}"


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=place)
def test_python_block_compiles_and_its_imports_resolve(block: CodeBlock) -> None:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compile(block.text, block.place, "exec", flags=flags | ast.PyCF_ONLY_AST)
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert importlib.util.find_spec(alias.name), block.place
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{block.place}: {alias.name}"
