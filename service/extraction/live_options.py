"""What the child of one stream is told, as JSON, the field `live` set apart from a clip's."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from service.domain.choices import Choices
from service.domain.live import (
    ContainerMedia,
    FrameEncoding,
    FrameMedia,
    LiveMedia,
    SampleEncoding,
    SoundFormat,
)
from service.extraction.options import Options

if TYPE_CHECKING:  # the child starts without pydantic
    from service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """All that the child of one stream is told.

    goes_on: whether the state of a Snapshot comes before the media.
    """

    media: LiveMedia
    options: Options
    goes_on: bool

    @staticmethod
    def of(media: LiveMedia, settings: Settings, *, goes_on: bool) -> LiveOptions:
        """What the child needs of the media's description and the settings."""
        chosen = Choices()
        if isinstance(media, ContainerMedia):
            chosen = Choices(video_stream=media.video_stream, audio_stream=media.audio_stream)
        return LiveOptions(media=media, options=Options.of(chosen, settings), goes_on=goes_on)

    def to_request(self) -> bytes:
        """As the child is told them."""
        media = None if isinstance(self.media, ContainerMedia) else asdict(self.media)
        options = asdict(self.options)
        return json.dumps({"live": media, "options": options, "goes_on": self.goes_on}).encode()

    @staticmethod
    def of_request(fields: dict[str, Any]) -> LiveOptions:
        """What `to_request` has made, read back."""
        options = Options(**fields["options"])
        media = ContainerMedia() if fields["live"] is None else _read_media(**fields["live"])
        return LiveOptions(media=media, options=options, goes_on=fields["goes_on"])


def _read_media(
    *, encoding: str, width: int, height: int, sound: dict[str, Any] | None
) -> FrameMedia:
    known: dict[str, Any] = {}
    if sound is not None:
        known = sound | {"encoding": SampleEncoding(sound["encoding"])}
    return FrameMedia(
        encoding=FrameEncoding(encoding),
        width=width,
        height=height,
        sound=SoundFormat(**known) if known else None,
    )
