"""A forkserver whose workers report their open handles as the detail of an error."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from service.decoding.forkserver import loop
from service.decoding.protocol.messages import encode_error
from service.decoding.requests import ForkserverReady
from service.errors import DecoderCrashed


def report_open_handles(request: bytes, messages: int, files: Sequence[int]) -> None:
    names = [handle.name for handle in Path("/proc/self/fd").iterdir()]
    open_names = [name for name in names if Path("/proc/self/fd", name).exists()]
    kinds = [str(Path("/proc/self/fd", name).readlink()).partition(":")[0] for name in open_names]
    for part in encode_error(DecoderCrashed(" ".join(sorted(kinds)))):
        os.write(messages, part)


if __name__ == "__main__":
    control_socket = loop.take_control_socket()
    loop.report_ready(control_socket, ForkserverReady())
    loop.serve(control_socket, report_open_handles)
