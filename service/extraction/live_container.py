"""The chain of stages inside the child of a stream that is a file in the making.

    pipe ─▶ feeder ─┬▶ pictures ─▶ decode (own thread) ─▶ faces ─▶ Seen
                    └▶ sound ─▶ decode (own thread) ─▶ patches of frames seen ─▶ Heard

The pictures never wait for the sound. What comes is read twice, as of a clip that lies there;
what has been read is dropped, and sound that nobody has come to want for many megabytes is
given up.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from typing import Final

from service.domain.clip import ClipOpened
from service.domain.live import ContainerBytes, LivePiece, Seen
from service.domain.media import Flag
from service.domain.time import patch_start_hop
from service.extraction.chain import PICTURES_AHEAD, close_clip
from service.extraction.hearing import Hearing
from service.extraction.listening import Listener
from service.extraction.looking import Onlooker, Watch, stack
from service.extraction.options import Options
from service.extraction.shortage import blame_shortage
from service.features.sighting import FaceFinder
from service.media.demux import ClipLimits, check_limits, open_inlet
from service.media.facts import read_facts
from service.media.inlet import Inlet
from service.media.layout import was_cut
from service.media.stages import work_ahead
from service.media.streams import choose_sound, choose_video
from service.media.video import Picture, VideoReader
from service.nursery.live_wire import Dry, LiveMessage

PICTURE_BYTES_AHEAD: Final = 4 * 2**20
"""Bytes that wait for the pictures' decoder; beyond them the pipe is left full."""
SOUND_BYTES_BEHIND: Final = 32 * 2**20
"""Bytes that the sound's reader may be behind."""
_PROBING: Final = {"fpsprobesize": "0", "analyzeduration": "1000000"}
"""The pictures do not wait to learn of their rate, nor for more than 1 s of sound that is late."""
_UNKNOWN_YET: Final = dict.fromkeys(
    ("container_seconds", "duration_seconds", "frames_estimate", "audio_duration_seconds")
)
"""What a file says of its length while it grows is how long it is by then."""

Say = Callable[[LiveMessage], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrived:
    """A picture, when the newest byte came that it took, and what decoding it took."""

    picture: Picture
    arrived_at: float
    busy_seconds: float


def follow_container(
    options: Options, pieces: Iterator[LivePiece], finder: FaceFinder, say: Say
) -> None:
    """Decode a file in the making until it ends, saying what is seen and heard.

    Raises: ClipError.
    """
    limits = ClipLimits(
        max_seconds=options.max_seconds,
        max_frames=options.max_frames,
        max_pixels=options.max_pixels,
    )
    inlet = Inlet(on_dry=lambda taken: say(Dry(taken_bytes=taken)))
    with ExitStack() as held:
        listener = Listener(options, say)
        _start(lambda: _feed(pieces, inlet, listener.inlet))
        container = held.enter_context(open_inlet(inlet, options.max_pixels, _PROBING))
        stream = choose_video(container, inlet, options.video_stream)
        check_limits(container, stream, limits)
        sound = choose_sound(container, options.audio_stream)
        reader = VideoReader(container, stream, limits=limits, threads=options.threads)
        listener.start(has_sound=sound is not None)
        held.enter_context(blame_shortage(stream.width * stream.height))
        arrived = held.enter_context(closing(work_ahead(_time(reader, inlet), PICTURES_AHEAD)))
        held.callback(inlet.close)  # the thread that reads must not wait for more
        first = next(arrived)
        facts = read_facts(container, stream, sound, first.picture.look)
        say(ClipOpened(media=dataclasses.replace(facts, **_UNKNOWN_YET)))
        onlooker = Onlooker(finder)
        _look(chain([first], arrived), onlooker, listener.hearing, say)
        listener.hearing.finish()
        flags = reader.flags() | listener.flags()
        flags |= {Flag.TRUNCATED} if was_cut(inlet.passage) else set[Flag]()
        say(close_clip(onlooker, flags, listener.report(reader.anomalies())))


def _look(arrived: Iterable[_Arrived], onlooker: Onlooker, hearing: Hearing, say: Say) -> None:
    for each in arrived:
        watch = Watch()
        frame, crops = onlooker.look(each.picture.pixels, each.picture.time_seconds)
        say(
            Seen(
                frames=(frame,),
                crops=stack(crops),
                arrived_at=(each.arrived_at,),
                stage_seconds={"decode": each.busy_seconds, "face": watch.seconds},
            )
        )
        hearing.expect(patch_start_hop(frame.time_seconds))


def _time(reader: VideoReader, inlet: Inlet) -> Iterator[_Arrived]:
    """The pictures, and what their decoding took without waiting for bytes."""
    waited = inlet.waited_seconds
    for picture in reader.read():
        idle, waited = inlet.waited_seconds - waited, inlet.waited_seconds
        yield _Arrived(
            picture=picture,
            arrived_at=inlet.arrived_at,
            busy_seconds=max(0.0, picture.busy_seconds - idle),
        )


def _feed(pieces: Iterator[LivePiece], pictures: Inlet, sound: Inlet) -> None:
    """Hand on what comes to both readers."""
    for piece in pieces:
        if isinstance(piece, ContainerBytes):
            pictures.wait_for_room(PICTURE_BYTES_AHEAD)
            pictures.put(piece.data, piece.arrived_at)
            sound.put(piece.data, piece.arrived_at)
            if sound.unread_bytes > SOUND_BYTES_BEHIND:
                sound.close()
    pictures.end()
    sound.end()


def _start(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="feed", daemon=True).start()
