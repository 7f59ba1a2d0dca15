"""The sound of a file in the making, decoded on a thread of its own as far as frames want it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from service.decoding.requests import DecodeRequest
from service.decoding.worker.audio_aligner import AudioAligner
from service.domain.media import Anomalies, Flag
from service.domain.stream import AudioExtracted
from service.errors import ClipError
from service.media.audio import AudioReader
from service.media.audio_buffer import AudioBuffer
from service.media.demux import open_growing_file
from service.media.growing_file import GrowingFile
from service.media.stream_selection import select_audio_stream


class AudioThread:
    """Reads the sound of an inlet of its own.

    inlet: where the bytes go; hearing: whom frames are told to.
    """

    def __init__(self, options: DecodeRequest, emit: Callable[[AudioExtracted], None]) -> None:
        self.file = GrowingFile()
        self._options = options
        self._buffer = AudioBuffer()
        self.aligner = AudioAligner(self._buffer, emit, max_frames=options.chunk_frames)
        self._has_audio = False
        self._reader: AudioReader | None = None

    def start(self, *, has_audio: bool) -> None:
        """Begin to listen, if there is anything to listen to."""
        self._has_audio = has_audio
        if has_audio:
            threading.Thread(target=self._run, name="listen", daemon=True).start()
        else:
            self.file.close()
            self.aligner.end_audio()

    def flags(self) -> set[Flag]:
        """What is known of the sound so far."""
        if not self._has_audio:
            return {Flag.NO_AUDIO}
        found = {Flag.AUDIO_UNREADABLE} if self._reader is None else self._reader.flags()
        return found | ({Flag.AUDIO_GAPS} if self.aligner.has_missing_audio else set())

    def add_anomalies(self, video: Anomalies) -> Anomalies:
        """Add what is known of the sound so far to what is known of the pictures."""
        return video if self._reader is None else self._reader.add_anomalies(video)

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            with open_growing_file(self.file, self._options.max_pixels) as container:
                stream = select_audio_stream(container, self._options.audio_stream)
                self._read_audio(AudioReader(container, stream, self._buffer))
        except ClipError:  # the pictures' reader tells what is wrong with the clip
            self._reader = None
        except BaseException as error:
            failure = error
        self.file.close()
        self.aligner.end_audio(failure)

    def _read_audio(self, reader: AudioReader) -> None:
        self._reader = reader
        while self.aligner.wait_for_demand():
            began, waited = time.perf_counter(), self.file.waited_seconds
            piece = reader.read_segment()
            if piece is None:
                return
            idle = self.file.waited_seconds - waited
            self.aligner.add_audio(piece, time.perf_counter() - began - idle)
