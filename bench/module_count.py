"""Count of the modules that run code for one REST job and for one stream.

    python -m bench.module_count [--list]

Gateway, worker and decode processes run under `module_tracer`. A module of `service` counts when
one of its functions is called between the start and the end of the job or stream, in any of these
processes; what importing it runs does not count, nor does the start of the processes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from circumplex_client import Client
from rich.console import Console

from bench.module_tracer import ROLES, WRAPPER, list_modules
from service.embedded.stack import Stack, isolate_settings, run_stack
from service.settings import YARDSTICK, Settings
from training.synthetic.clip import render_demo_clip

ROOT: Final = Path(__file__).resolve().parents[1]
SETTLE_SECONDS: Final = 1.0
"""Pause before a measurement, in which deferred work of the one before finishes."""


class ModuleMaps:
    """The marks of every role; a context that starts with none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._modules = [str(path.relative_to(ROOT)) for path in list_modules(ROOT)]
        self.clear()

    def clear(self) -> None:
        """Forget all marks."""
        for role in ROLES:
            file = self._folder / role
            with file.open("r+b" if file.exists() else "wb") as marks:
                marks.write(bytes(len(self._modules)))

    def read(self, *roles: str) -> list[str]:
        """List the modules that are marked for any of these roles, by path."""
        marks = [(self._folder / role).read_bytes() for role in roles or ROLES]
        rows = zip(self._modules, *marks, strict=True)
        return [name for name, *marked in rows if any(marked)]


def main() -> None:
    """Run a job and a stream; print how many modules each ran code of."""
    parser = argparse.ArgumentParser(prog="bench.module_count", description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the modules' paths, too")
    is_list = parser.parse_args().list
    console = Console()
    with TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        render_demo_clip(clip, seed=1)
        maps = ModuleMaps(Path(folder))
        with _run_traced_stack(Path(folder)) as stack:
            counts = {**_run_job(stack, maps, clip), **_run_stream(stack, maps, clip)}
    for title, modules in counts.items():
        console.print(f"{title}: {len(modules)} modules", highlight=False)
        if is_list:
            console.print("\n".join(f"  {name}" for name in modules), highlight=False)


@contextmanager
def _run_traced_stack(folder: Path) -> Generator[Stack]:
    tracer = ROOT / "bench" / "module_tracer.py"
    wrapper = folder / WRAPPER
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tracer}" "{folder}" "{ROOT}" "$@"\n')
    wrapper.chmod(0o755)
    interpreter, path = sys.executable, os.environ["PATH"]
    os.environ["PATH"] = f"{Path(interpreter).parent}:{path}"  # Triton finds its Python there
    sys.executable = str(wrapper)
    try:
        with run_stack(isolate_settings(Settings().serving_only(YARDSTICK), folder)) as stack:
            sys.executable = interpreter
            yield stack
    finally:
        sys.executable, os.environ["PATH"] = interpreter, path


def _run_job(stack: Stack, maps: ModuleMaps, clip: Path) -> dict[str, list[str]]:
    time.sleep(SETTLE_SECONDS)
    maps.clear()
    with Client(f"http://{stack.settings.host}:{stack.settings.http_port}") as client:
        job = client.submit(clip)
        accepted = maps.read("gateway")
        client.wait(job.id)
        client.save(job.id, clip.with_suffix(".json"), format="json")
    return {
        "job, from POST to 202 (gateway)": accepted,
        "job, gateway and worker": maps.read("gateway", "worker"),
        "job, with its decode process": maps.read(),
    }


def _run_stream(stack: Stack, maps: ModuleMaps, clip: Path) -> dict[str, list[str]]:
    time.sleep(SETTLE_SECONDS)
    maps.clear()
    url = f"{stack.settings.host}:{stack.settings.grpc_port}"
    out = ("--format", "ndjson", "--out", str(clip.with_suffix(".ndjson")))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "circumplex_client",
            "live",
            str(clip),
            "--fast",
            *out,
            "--url",
            f"grpc://{url}",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return {
        "stream over gRPC (gateway)": maps.read("gateway"),
        "stream, with its decode process": maps.read("gateway", "decode"),
    }


if __name__ == "__main__":
    main()
