"""Annotation of clips and folders of clips; a second run continues where the first stopped."""

from __future__ import annotations

import argparse
import hashlib
import os
import queue
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from circumplex_client.client import Client
from circumplex_client.clip_search import ClipSearch, name_result
from circumplex_client.errors import ClientError
from circumplex_client.models import ClipOptions, Job

TENTHS: Final = 10
"""Progress of a clip is printed in this many steps."""
MAX_NAMED: Final = 20
"""Files that are passed over are named up to this many."""
INTERRUPTED_EXIT_CODE: Final = 130


def annotate_clips(client: Client, args: argparse.Namespace) -> int:
    """Annotate all clips.

    Returns: 0 on success, 1 if a clip failed, 2 if nothing could be started (names collide, the
    output cannot be written), 130 after Ctrl-C, SIGTERM or a closed terminal.
    """
    _stop_on_signals()
    try:
        return _search_and_annotate(client, args)
    except KeyboardInterrupt:
        client.close()  # removes half files
        _print_status("stopped; jobs that were submitted go on, and the same command finds them")
        return INTERRUPTED_EXIT_CODE


def _stop_on_signals() -> None:
    """Let SIGTERM, and the end of the terminal (SIGHUP), stop the command as Ctrl-C does.

    A signal that is ignored, as by nohup, stays ignored.
    """
    with suppress(ValueError):  # not in the main thread: signals are the program's
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)


def _search_and_annotate(client: Client, args: argparse.Namespace) -> int:
    search = ClipSearch()
    search.add(args.clips)
    _print_passed_over(search.passed_over)
    try:
        targets = _choose_targets(search.clips, args.out, f".{args.format}")
    except (OSError, ValueError) as error:
        _print_status(str(error))
        return 2
    pending = [clip for clip, target in targets.items() if not target.exists()]
    _print_status(f"{len(targets)} clips, {len(targets) - len(pending)} already done")
    failures: dict[Path, str] = {}
    announcer = _ModelAnnouncer(client)
    outcomes = _run_in_threads(
        lambda clip: _annotate_clip(client, clip, targets[clip], args, announcer),
        pending,
        args.at_once,
    )
    for number, (clip, outcome) in enumerate(outcomes, start=1):
        if isinstance(outcome, int):
            text = f"{outcome} frames → {targets[clip]}"
        else:
            failures[clip] = text = str(outcome)
        _print_status(f"[{number}/{len(pending)}] {clip}: {text}")
    if failures:
        _print_status(f"{len(failures)} of {len(targets)} clips have no result:")
    for clip, reason in failures.items():
        _print_status(f"  {clip}: {reason}")
    return 1 if failures else 0


def _choose_targets(clips: dict[Path, str], out: Path, suffix: str) -> dict[Path, Path]:
    """Choose each clip's result file; creates the folder `out`.

    Raises: ValueError: two clips have one name; OSError: `out` cannot be written to.
    """
    counts = Counter(clips.values())
    if same := [name for name, count in counts.items() if count > 1]:
        raise ValueError(
            f"some of these clips have the same name ({same[0]}): annotate them into different "
            "folders"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            max_name_bytes = os.pathconf(out, "PC_NAME_MAX")
    except OSError as error:
        raise OSError(f"{out} cannot be written to: {error.strerror or error}") from error
    return {clip: out / name_result(name, suffix, max_name_bytes) for clip, name in clips.items()}


def _run_in_threads(
    function: Callable[[Path], int], clips: Sequence[Path], count: int
) -> Iterator[tuple[Path, int | ClientError | OSError]]:
    """Yield each clip's outcome as it comes; the threads do not outlive the program."""
    tasks, outcomes = queue.SimpleQueue[Path](), queue.SimpleQueue[_Outcome]()
    for clip in clips:
        tasks.put(clip)

    def work() -> None:
        while True:
            try:
                clip = tasks.get_nowait()
            except queue.Empty:
                return
            try:
                outcomes.put((clip, function(clip)))
            except BaseException as error:
                outcomes.put((clip, error))

    for _ in range(min(count, len(clips))):
        threading.Thread(target=work, daemon=True).start()
    for _ in clips:
        clip, outcome = outcomes.get()
        if isinstance(outcome, BaseException) and not isinstance(outcome, (ClientError, OSError)):
            raise outcome
        yield clip, outcome


_Outcome = tuple[Path, int | BaseException]


def _annotate_clip(
    client: Client,
    clip: Path,
    target: Path,
    args: argparse.Namespace,
    announcer: _ModelAnnouncer,
) -> int:
    """Submit a clip, wait for its job and save the result; returns the number of frames."""
    target.parent.mkdir(parents=True, exist_ok=True)
    options = ClipOptions(
        faces=args.faces, video_stream=args.video_stream, audio_stream=args.audio_stream
    )
    key = _compute_idempotency_key(clip, options, args.priority, args.model)
    job = client.submit(
        clip, options, model=args.model, priority=args.priority, idempotency_key=key
    )
    announcer.announce(job)
    if _is_worth_retrying(job):
        job = client.retry(job.id)
    job = client.wait(job.id, on_progress=_ProgressPrinter(clip))
    client.save(job.id, target, format=args.format)
    return job.progress.frames_done


def _compute_idempotency_key(
    clip: Path, options: ClipOptions, priority: str, model: str | None
) -> str:
    """Hash path, size, time of change and options, so that a second run finds the same job."""
    state = clip.stat()
    parts: tuple[object, ...] = (
        *(clip.resolve(), state.st_size, state.st_mtime_ns, options, priority),
        *(() if model is None else (model,)),
    )
    return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()


def _is_worth_retrying(job: Job) -> bool:
    """Return whether the job ended without a result and may succeed when retried."""
    return job.state == "cancelled" or (job.error is not None and job.error.retryable)


class _ModelAnnouncer:
    """Prints one line for each model that jobs are pinned to; used by several threads."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._announced: set[str | None] = {None}  # an older server names none

    def announce(self, job: Job) -> None:
        """Print the job's model and its caveats, unless they have been printed."""
        with self._lock:
            if job.model in self._announced:
                return
            self._announced.add(job.model)
        summary = ""
        with suppress(ClientError):  # no longer exported
            summary = self._client.model(job.model or "").summary
        _print_status(summary or f"Model {job.model}")


class _ProgressPrinter:
    """Prints each tenth of a clip's progress once."""

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self._printed_tenths = 0

    def __call__(self, job: Job) -> None:
        tenths = int(TENTHS * (job.progress.fraction or 0))
        if self._printed_tenths < tenths < TENTHS:
            self._printed_tenths = tenths
            _print_status(f"{self._clip}: {10 * tenths} %")


def _print_passed_over(passed_over: Sequence[tuple[Path, str]]) -> None:
    for path, reason in passed_over[:MAX_NAMED]:
        _print_status(f"passed over: {path} ({reason})")
    if len(passed_over) > MAX_NAMED:
        _print_status(f"passed over: {len(passed_over) - MAX_NAMED} more")


def _print_status(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - messages of a command line
