"""Caches of training: what was computed from other files, or only in part, is never used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from toy_dataset import FRAME_RATE, ToyRecording, write_dataset

from service.domain.array_types import Float32Array
from service.domain.model_signatures import FACE_FEATURES, VOICE_FEATURES
from training.data.crops import read_crop
from training.data.embeddings import EmbeddingStore
from training.data.errors import CacheReplaced, CropUnreadable, DatasetChanged, VideoUnreadable
from training.data.layout import Recording, read_dataset
from training.data.sources import SourceDigests, digest_dataset
from training.data.spectra_cache import SpectraCache
from training.networks.log_mel import LogMel, LogMelConfig
from training.synthetic.container import write_clip

ROWS = 12


class PixelBackbone(torch.nn.Module):
    """Fake backbone: the mean of each input, so that other inputs give other embeddings."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.float().flatten(1).mean(dim=1, keepdim=True).expand(-1, self.features)


def embed(cache: Path, recording: Recording) -> tuple[Float32Array, Float32Array]:
    """Embed in a process of its own, as it were; returns the first column of each modality."""
    spectra = SpectraCache(cache / "tracks", LogMel(LogMelConfig()).eval())
    store = EmbeddingStore(cache / "embeddings", weights_key="w", spectra=spectra, rate_hz=25)
    steps = store.prepare(
        [recording],
        visual=PixelBackbone(FACE_FEATURES),
        audio=PixelBackbone(VOICE_FEATURES),
        device=torch.device("cpu"),
    )
    assert list(steps) == [recording]
    features = store.read_features(recording)
    return features.visual[:, 0], features.audio[:, 0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_dataset(
        tmp_path / "world",
        (
            ToyRecording(name="a", folder="Train_Set", rows=ROWS),
            ToyRecording(name="b", folder="Validation_Set", rows=ROWS),
        ),
    )


def read_first(root: Path) -> Recording:
    return read_dataset(root)[0]


def replace_crop(root: Path) -> None:
    """Write other pixels into a crop; size and times of the file stay as they were."""
    file = root / "cropped_aligned" / "a" / "00003.jpg"
    before, size = file.stat(), file.stat().st_size
    cv2.imwrite(str(file), np.full((112, 112, 3), 7, np.uint8))
    content = file.read_bytes()
    file.write_bytes(content + bytes(size - len(content)) if len(content) <= size else content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_video(root: Path) -> None:
    waveform = (0.5 * np.sin(np.arange(16_000) / 3)).astype(np.float32)
    images = (np.zeros((32, 32, 3), np.uint8) for _ in range(ROWS))
    write_clip(root / "videos" / "a.mp4", images, rate=FRAME_RATE, waveform=waveform)


def exchange_crops(root: Path) -> None:
    """Swap two crops: the same files under other names."""
    folder = root / "cropped_aligned" / "a"
    for one, other in (("00003.jpg", "x"), ("00009.jpg", "00003.jpg"), ("x", "00009.jpg")):
        (folder / one).rename(folder / other)


def remove_crop(root: Path) -> None:
    (root / "cropped_aligned" / "a" / "00003.jpg").unlink()


@pytest.mark.parametrize("change", [replace_crop, replace_video, exchange_crops, remove_crop])
def test_embeddings_of_other_files_under_the_same_names_are_not_used(
    tmp_path: Path, root: Path, change: Callable[[Path], None]
) -> None:
    before = embed(tmp_path / "cache", read_first(root))
    change(root)
    after = embed(tmp_path / "cache", read_first(root))
    expected = embed(tmp_path / "fresh", read_first(root))
    assert not all(np.array_equal(*pair) for pair in zip(before, after, strict=True))
    for pair in zip(expected, after, strict=True):
        np.testing.assert_array_equal(*pair)


def test_the_same_names_in_another_root_are_other_recordings(tmp_path: Path, root: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    original = read_first(root)
    key_before = embed(tmp_path / "cache", original)
    replace_crop(copy)
    other = embed(tmp_path / "cache", read_first(copy))
    assert not np.array_equal(key_before[0], other[0])
    np.testing.assert_array_equal(embed(tmp_path / "cache", original)[0], key_before[0])


def test_each_side_may_have_a_video_of_its_own(tmp_path: Path) -> None:
    names = ("duo_left", "duo_right")
    root = write_dataset(
        tmp_path / "world",
        (
            *(ToyRecording(name=name, folder="Train_Set", rows=ROWS) for name in names),
            ToyRecording(name="b", folder="Validation_Set", rows=ROWS),
        ),
    )
    videos = root / "videos"
    shutil.copy(videos / "duo.mp4", videos / "duo_left.mp4")
    replace_video(root)
    (videos / "a.mp4").rename(videos / "duo_right.mp4")
    recordings = read_dataset(root)
    together = SpectraCache(tmp_path / "together", LogMel(LogMelConfig()).eval())
    for each in recordings[:2]:
        alone = SpectraCache(tmp_path / each.name, LogMel(LogMelConfig()).eval())
        assert torch.equal(together.read(each).spectra, alone.read(each).spectra)
    assert not torch.equal(*(together.read(each).spectra for each in recordings[:2]))


def test_a_moved_data_set_keeps_its_cache(tmp_path: Path, root: Path) -> None:
    embed(tmp_path / "cache", read_first(root))
    stored = tmp_path / "cache" / "embeddings" / "a.safetensors"
    written = stored.stat().st_mtime_ns
    embed(tmp_path / "cache", read_first(root.rename(tmp_path / "moved")))
    assert stored.stat().st_mtime_ns == written


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def write_other_layout(file: Path) -> None:
    """Write a file as an earlier version did: without the key."""
    tensors = {name: torch.zeros(ROWS, 512) for name in ("visual", "audio", "known", "times")}
    safetensors.torch.save_file(tensors, file, {"weights": "w at 25"})


def write_without_metadata(file: Path) -> None:
    safetensors.torch.save_file({"visual": torch.zeros(1)}, file)


@pytest.mark.parametrize("spoil", [truncate, empty, write_other_layout, write_without_metadata])
@pytest.mark.parametrize("folder", ["tracks", "embeddings"])
def test_a_spoilt_file_of_a_cache_is_computed_again(
    tmp_path: Path, root: Path, folder: str, spoil: Callable[[Path], None]
) -> None:
    expected = embed(tmp_path / "cache", read_first(root))
    spoil(tmp_path / "cache" / folder / "a.safetensors")
    for pair in zip(expected, embed(tmp_path / "cache", read_first(root)), strict=True):
        np.testing.assert_array_equal(*pair)


def test_features_are_refused_after_another_process_has_replaced_them(
    tmp_path: Path, root: Path
) -> None:
    recording = read_first(root)
    spectra = SpectraCache(tmp_path / "cache" / "tracks", LogMel(LogMelConfig()).eval())
    store = EmbeddingStore(
        tmp_path / "cache" / "embeddings", weights_key="w", spectra=spectra, rate_hz=25
    )
    embed(tmp_path / "cache", recording)
    assert len(store.read_features(recording)) == ROWS
    replace_crop(root)
    embed(tmp_path / "cache", read_first(root))
    with pytest.raises(CacheReplaced, match=r"a\.safetensors"):
        store.read_features(recording)


def test_a_stored_digest_is_used_until_a_file_changes(tmp_path: Path, root: Path) -> None:
    recording = read_first(root)

    def digest() -> str:
        return SourceDigests(tmp_path / "sources", settle_seconds=-60).digest_crops(recording)

    first = digest()
    entry = tmp_path / "sources" / "a.crops.json"
    entry.write_text(entry.read_text().replace(first, "0" * 64))
    assert digest() == "0" * 64
    replace_crop(root)
    assert digest() not in (first, "0" * 64)
    entry.write_text("{")
    assert digest() not in (first, "0" * 64)


def test_a_file_that_has_just_changed_is_digested_again(tmp_path: Path, root: Path) -> None:
    SourceDigests(tmp_path / "sources", settle_seconds=60).digest_crops(read_first(root))
    assert not (tmp_path / "sources").exists()


def test_files_that_change_while_they_are_embedded_end_the_computation(
    tmp_path: Path, root: Path
) -> None:
    recording = read_first(root)

    class ReplacingBackbone(PixelBackbone):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            replace_crop(root)
            return super().forward(inputs)

    spectra = SpectraCache(tmp_path / "tracks", LogMel(LogMelConfig()).eval())
    store = EmbeddingStore(tmp_path / "stored", weights_key="w", spectra=spectra, rate_hz=25)
    steps = store.prepare(
        [recording],
        visual=ReplacingBackbone(FACE_FEATURES),
        audio=PixelBackbone(VOICE_FEATURES),
        device=torch.device("cpu"),
    )
    with pytest.raises(DatasetChanged, match=r"a\.crops"):
        list(steps)
    assert not (tmp_path / "stored").exists()


def test_a_broken_crop_is_found_while_a_data_set_is_digested(tmp_path: Path, root: Path) -> None:
    file = root / "cropped_aligned" / "b" / "00005.jpg"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(CropUnreadable, match="00005"):
        digest_dataset(SourceDigests(tmp_path / "sources"), read_dataset(root))
    file.unlink()
    file.mkdir()
    with pytest.raises(CropUnreadable, match="00005"):
        read_crop(file)


def test_a_broken_video_is_an_error_and_silence_only_on_request(
    tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "videos" / "a.mp4").write_bytes(b"no video")
    log_mel, recording = LogMel(LogMelConfig()).eval(), read_first(root)
    with pytest.raises(VideoUnreadable, match=r"a\.mp4"):
        list(SpectraCache(tmp_path / "tracks", log_mel).prepare([recording]))
    allowing = SpectraCache(tmp_path / "tracks", log_mel, allow_missing_audio=True)
    assert len(list(allowing.prepare([recording]))) == 1
    assert "silence" in caplog.text
    with pytest.raises(VideoUnreadable, match=r"a\.mp4"):
        list(SpectraCache(tmp_path / "tracks", log_mel).prepare([recording]))
