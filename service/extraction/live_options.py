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
    """All that the child of one stream is told."""

    media: LiveMedia
    options: Options

    @staticmethod
    def of(media: LiveMedia, settings: Settings) -> LiveOptions:
        """What the child needs of the media's description and the settings."""
        chosen = Choices()
        if isinstance(media, ContainerMedia):
            chosen = Choices(video_stream=media.video_stream, audio_stream=media.audio_stream)
        return LiveOptions(media=media, options=Options.of(chosen, settings))

    def to_request(self) -> bytes:
        """As the child is told them."""
        media = None if isinstance(self.media, ContainerMedia) else asdict(self.media)
        return json.dumps({"live": media, "options": asdict(self.options)}).encode()

    @staticmethod
    def of_request(fields: dict[str, Any]) -> LiveOptions:
        """What `to_request` has made, read back."""
        options, told = Options(**fields["options"]), fields["live"]
        if told is None:
            media = ContainerMedia(
                video_stream=options.video_stream, audio_stream=options.audio_stream
            )
            return LiveOptions(media=media, options=options)
        sound = told["sound"]
        media = FrameMedia(
            encoding=FrameEncoding(told["encoding"]),
            width=told["width"],
            height=told["height"],
            sound=sound and SoundFormat(**sound | {"encoding": SampleEncoding(sound["encoding"])}),
        )
        return LiveOptions(media=media, options=options)
