"""Encrypted clips, whole and streamed, fail with an error that says so; clear ones do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from service.decoding.extractor import ForkedStreamExtractor
from service.domain.stream import ContainerStreamMedia
from service.errors import ClipEncrypted
from tests.media.decode_workers import Reader, read_frame_count_and_flags
from tests.media.encrypted_files import (
    write_common_encryption,
    write_encrypted_asf,
    write_encrypted_audio,
    write_encrypted_matroska,
    write_fairplay,
    write_sample_encryption,
    write_scrambled_program,
    write_scrambled_transport,
)
from tests.media.stream_extraction import run_stream_extraction, split_bytes

CONTENT_ENCRYPTION = "fbb3112223bdd211b4b700a0c955fc6e"
EXTENDED_CONTENT_ENCRYPTION = "14e68a292226174cb935dae07ee9289c"
ADVANCED_CONTENT_ENCRYPTION = "338505438169e6499b74ad12cb86d58c"
FRAGMENTS = "frag_keyframe+empty_moov"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("index last.mp4", write_common_encryption),
        ("index first.mp4", partial(write_common_encryption, movflags="faststart")),
        ("fragments.mp4", partial(write_common_encryption, movflags=FRAGMENTS)),
        ("cbcs.mp4", partial(write_common_encryption, scheme=b"cbcs", movflags="faststart")),
        ("fairplay.mp4", write_fairplay),
        ("key.mkv", partial(write_encrypted_matroska, with_key=True)),
        ("no key.mkv", partial(write_encrypted_matroska, with_key=False)),
        ("a.ts", write_scrambled_transport),
        ("bluray.ts", partial(write_scrambled_transport, packet_bytes=192)),
        ("hls.ts", write_sample_encryption),
        ("a.vob", write_scrambled_program),
        ("a.wmv", partial(write_encrypted_asf, guid=CONTENT_ENCRYPTION)),
        ("extended.wmv", partial(write_encrypted_asf, guid=EXTENDED_CONTENT_ENCRYPTION)),
        ("advanced.wmv", partial(write_encrypted_asf, guid=ADVANCED_CONTENT_ENCRYPTION)),
    ],
)
async def test_encrypted_clip_is_refused_as_encrypted(
    reader: Reader,
    stream_extractor: ForkedStreamExtractor,
    tmp_path: Path,
    name: str,
    write: Callable[[Path], bytes],
) -> None:
    clip = tmp_path / name
    content = write(clip)
    clip.write_bytes(content)
    with pytest.raises(ClipEncrypted):
        await reader.read(clip)
    if name != "index last.mp4":
        with pytest.raises(ClipEncrypted):
            await run_stream_extraction(
                stream_extractor, ContainerStreamMedia(), split_bytes(content, 4096)
            )


@pytest.mark.parametrize(
    ("name", "write", "frames"),
    [
        ("a.mp4", write_encrypted_audio, 10),
        ("a.vob", partial(write_scrambled_program, share=1000), 25),
    ],
)
async def test_clip_with_readable_video_is_read(
    reader: Reader, tmp_path: Path, name: str, write: Callable[[Path], bytes], frames: int
) -> None:
    clip = tmp_path / name
    clip.write_bytes(write(clip))
    assert (await read_frame_count_and_flags(reader, clip))[0] == frames
