"""Profile hook that marks the modules of `service` in which functions are called.

    python bench/module_tracer.py MAPS ROOT [-P] -m MODULE [ARGUMENT ...]

Runs a module as `python -m` does. Each role (gateway, worker, decode) marks one byte a module in
MAPS/<role>, a file that is mapped into memory, so that confined processes can mark theirs too.
"""

from __future__ import annotations

import mmap
import runpy
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Final

ROLES: Final = ("gateway", "worker", "decode")
WRAPPER: Final = "traced-interpreter"
"""Name of the program in MAPS that runs this file with the real interpreter."""


def list_modules(root: Path) -> list[Path]:
    """List the service's source files; their order numbers the bytes of a map."""
    return sorted((root / "service").rglob("*.py"))


def main() -> None:
    """Install the hook, then run the module."""
    maps, root, *arguments = sys.argv[1:]
    if arguments[0] == "-P":
        arguments = arguments[1:]
        sys.path[0] = root
    else:
        sys.path[0] = str(Path.cwd())
    _, module, *rest = arguments
    role = rest[0] if rest and rest[0] in ROLES else "decode"
    with (Path(maps) / role).open("r+b") as file:
        marks = mmap.mmap(file.fileno(), 0)
    numbers = {str(path): number for number, path in enumerate(list_modules(Path(root)))}

    def mark(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            number = numbers.get(frame.f_code.co_filename)
            if number is not None:
                marks[number] = 1

    sys.executable = str(Path(maps) / WRAPPER)  # processes that this one starts are traced too
    sys.argv = [module, *rest]
    threading.setprofile(mark)
    sys.setprofile(mark)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
