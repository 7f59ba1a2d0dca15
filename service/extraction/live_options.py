"""What the child of one stream is told, as JSON, the field `live` set apart from a clip's."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from service.domain.choices import AnalysisOptions
from service.domain.live import (
    AudioFormat,
    ContainerStreamMedia,
    FrameEncoding,
    FrameStreamMedia,
    SampleEncoding,
    StreamMedia,
)
from service.extraction.options import DecodeRequest

if TYPE_CHECKING:  # the child starts without pydantic
    from service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDecodeRequest:
    """All that the child of one stream is told.

    goes_on: whether the state of a Snapshot comes before the media.
    """

    media: StreamMedia
    options: DecodeRequest
    has_snapshot: bool

    @staticmethod
    def from_settings(
        media: StreamMedia, settings: Settings, *, has_snapshot: bool
    ) -> StreamDecodeRequest:
        """What the child needs of the media's description and the settings."""
        chosen = AnalysisOptions()
        if isinstance(media, ContainerStreamMedia):
            chosen = AnalysisOptions(
                video_stream=media.video_stream, audio_stream=media.audio_stream
            )
        return StreamDecodeRequest(
            media=media,
            options=DecodeRequest.from_settings(chosen, settings),
            has_snapshot=has_snapshot,
        )

    def to_json(self) -> bytes:
        """As the child is told them."""
        media = None if isinstance(self.media, ContainerStreamMedia) else asdict(self.media)
        options = asdict(self.options)
        return json.dumps(
            {"live": media, "options": options, "goes_on": self.has_snapshot}
        ).encode()

    @staticmethod
    def from_json(fields: dict[str, Any]) -> StreamDecodeRequest:
        """What `to_request` has made, read back."""
        options = DecodeRequest(**fields["options"])
        media = ContainerStreamMedia() if fields["live"] is None else _read_media(**fields["live"])
        return StreamDecodeRequest(media=media, options=options, has_snapshot=fields["goes_on"])


def _read_media(
    *, encoding: str, width: int, height: int, sound: dict[str, Any] | None
) -> FrameStreamMedia:
    known: dict[str, Any] = {}
    if sound is not None:
        known = sound | {"encoding": SampleEncoding(sound["encoding"])}
    return FrameStreamMedia(
        encoding=FrameEncoding(encoding),
        width=width,
        height=height,
        sound=AudioFormat(**known) if known else None,
    )
