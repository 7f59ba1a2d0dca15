"""The sound of a file in the making, decoded on a thread of its own as far as frames want it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from service.domain.live import Heard
from service.domain.media import Anomalies, Flag
from service.errors import ClipError
from service.extraction.hearing import Hearing
from service.extraction.options import Options
from service.media.audio import Sound
from service.media.demux import open_inlet
from service.media.inlet import Inlet
from service.media.streams import choose_sound
from service.media.track import SoundTrack


class Listener:
    """Reads the sound of an inlet of its own.

    inlet: where the bytes go; hearing: whom frames are told to.
    """

    def __init__(self, options: Options, say: Callable[[Heard], None]) -> None:
        self.inlet = Inlet()
        self._options = options
        self._track = SoundTrack()
        self.hearing = Hearing(self._track, say, max_frames=options.chunk_frames)
        self._has_sound = False
        self._sound: Sound | None = None

    def start(self, *, has_sound: bool) -> None:
        """Begin to listen, if there is anything to listen to."""
        self._has_sound = has_sound
        if has_sound:
            threading.Thread(target=self._run, name="listen", daemon=True).start()
        else:
            self.inlet.close()
            self.hearing.end()

    def flags(self) -> set[Flag]:
        """What is known of the sound so far."""
        if not self._has_sound:
            return {Flag.NO_AUDIO}
        found = {Flag.AUDIO_UNREADABLE} if self._sound is None else self._sound.flags()
        return found | ({Flag.AUDIO_GAPS} if self.hearing.lacks_sound else set())

    def report(self, pictures: Anomalies) -> Anomalies:
        """Add what is known of the sound so far to what is known of the pictures."""
        return pictures if self._sound is None else self._sound.report(pictures)

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            with open_inlet(self.inlet, self._options.max_pixels) as container:
                stream = choose_sound(container, self._options.audio_stream)
                self._listen(Sound(container, stream, self._track))
        except ClipError:  # the pictures' reader tells what is wrong with the clip
            self._sound = None
        except BaseException as error:
            failure = error
        self.inlet.close()
        self.hearing.end(failure)

    def _listen(self, sound: Sound) -> None:
        self._sound = sound
        while self.hearing.wait_for_want():
            began, waited = time.perf_counter(), self.inlet.waited_seconds
            piece = sound.advance()
            if piece is None:
                return
            idle = self.inlet.waited_seconds - waited
            self.hearing.keep(piece, time.perf_counter() - began - idle)
