"""Training data: layout, crops, video, spectra, samples, embeddings."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from av.video.frame import PictureType
from toy_dataset import TOY_RECORDINGS, ToyRecording, write_dataset

from service.domain.audio_grid import PATCH_HOPS, patch_start_hop
from service.domain.forward_fill import ForwardFill
from service.domain.model_signatures import FACE_FEATURES, VOICE_FEATURES
from service.domain.windows import Features, Windower
from service.media.audio import AudioReader
from service.media.demux import open_container
from service.media.media_info import ClipLimits
from service.media.stream_selection import select_audio_stream, select_video_stream
from service.media.video import VideoReader
from training.data.augmentation import Augmentation
from training.data.crops import read_crop
from training.data.embeddings import EmbeddingStore
from training.data.errors import (
    AnnotationUnreadable,
    CacheReplaced,
    CropsNotFound,
    CropUnreadable,
    DuplicateRecording,
    LayoutNotFound,
    SplitEmpty,
    VideoUnreadable,
)
from training.data.folders import DatasetOptions
from training.data.layout import Recording, Split, filter_split, fingerprint_dataset, read_dataset
from training.data.samples import EpochBatchSampler, FrameDataset, SampleSource, WindowGrid
from training.data.spectra_cache import SpectraCache
from training.data.video import extend_times, read_frame_times, read_video
from training.networks.log_mel import LogMel, LogMelConfig
from training.synthetic.container import write_clip

SILENT = DatasetOptions(allow_missing_audio=True)


@pytest.fixture(scope="module")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def recordings(dataset_root: Path) -> dict[str, Recording]:
    return {recording.name: recording for recording in read_dataset(dataset_root)}


@pytest.fixture(scope="module")
def log_mel() -> LogMel:
    return LogMel(LogMelConfig()).eval()


def test_every_recording_is_read_with_its_split_and_video(
    dataset_root: Path, recordings: dict[str, Recording]
) -> None:
    assert set(recordings) == {recording.name for recording in TOY_RECORDINGS}
    test_names = {r.name for r in filter_split(tuple(recordings.values()), Split.TEST)}
    assert test_names == {"test0", "test1"}
    assert (
        recordings["duo_left"].video
        == recordings["duo_right"].video
        == dataset_root / "videos/duo.mp4"
    )
    sides = (recordings["duo_left"], recordings["duo_right"])
    assert [side.subject for side in sides] == ["duo_left", "duo_right"]
    assert {side.source_video for side in sides} == {"duo"}


def test_rows_without_annotation_stay_in_place(recordings: dict[str, Recording]) -> None:
    duo = recordings["duo_left"]
    assert len(duo) == 50
    assert np.flatnonzero(~duo.is_annotated).tolist() == [3, 4]
    assert np.isnan(duo.targets[3:5]).all()
    assert np.abs(duo.targets[duo.is_annotated]).max() <= 1


def test_a_missing_crop_is_a_frame_without_a_face(recordings: dict[str, Recording]) -> None:
    assert np.flatnonzero(~recordings["duo_left"].has_face).tolist() == [0, 1, 20]


def test_a_gap_is_filled_with_the_last_face_and_masked_before_the_first(
    recordings: dict[str, Recording],
) -> None:
    faces = recordings["duo_left"].has_face
    found = np.arange(1, faces.sum() + 1, dtype=np.float32)[:, None] * np.ones(FACE_FEATURES)
    visual, known = ForwardFill().fill(faces, found.astype(np.float32))
    assert known.tolist() == [False, False, *[True] * 48]
    assert visual[19:22, 0].tolist() == [18, 18, 19]


def break_layout(root: Path, fault: str) -> None:
    rows = root / "VA_Estimation_Challenge" / "Train_Set" / "train0.txt"
    if fault == "crops":
        (root / "cropped_aligned" / "train0").rename(root / "cropped_aligned" / "other")
    elif fault == "twice":
        rows.with_name("train1.txt").rename(root / "VA_Estimation_Challenge/Test_Set/train0.txt")
    elif fault == "no split":
        for file in (root / "VA_Estimation_Challenge" / "Validation_Set").iterdir():
            file.unlink()
    elif fault == "no annotations":
        (root / "VA_Estimation_Challenge").rename(root / "VA")
    else:
        rows.write_text(fault)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("crops", CropsNotFound, "train0"),
        ("twice", DuplicateRecording, "train0: training and test"),
        ("no split", SplitEmpty, "Validation_Set"),
        ("no annotations", LayoutNotFound, "VA_Estimation_Challenge"),
        ("0.1,0.2\n", AnnotationUnreadable, "line 1: the header"),
        ("valence,arousal\n0.1,0.2\n0.3\n", AnnotationUnreadable, "line 3: '0.3'"),
        ("valence,arousal\n0.1,x\n", AnnotationUnreadable, "line 2"),
        ("valence,arousal\n0.1,1.5\n", AnnotationUnreadable, "neither in"),
        ("valence,arousal\n\n0.1,0.5\n", AnnotationUnreadable, "line 2"),
    ],
)
def test_a_wrong_layout_is_refused_with_its_fault(
    tmp_path: Path, fault: str, error: type[Exception], message: str
) -> None:
    names = ("train0", "train1", "check0", "test0")
    recordings = tuple(recording for recording in TOY_RECORDINGS if recording.name in names)
    root = write_dataset(tmp_path, recordings, videos=False)
    break_layout(root, fault)
    with pytest.raises(error, match=message):
        read_dataset(root, SILENT)


def test_the_fingerprint_depends_on_face_masks(tmp_path: Path, dataset_root: Path) -> None:
    recordings = (
        ToyRecording(name="a", folder="Train_Set"),
        ToyRecording(name="b", folder="Validation_Set"),
    )
    root = write_dataset(tmp_path, recordings, videos=False)
    before = fingerprint_dataset(read_dataset(root, SILENT))
    assert before == fingerprint_dataset(read_dataset(root, SILENT))
    (root / "cropped_aligned" / "a" / "00007.jpg").unlink()
    assert before != fingerprint_dataset(read_dataset(root, SILENT))


def test_a_crop_is_read_as_rgb_of_the_served_size(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "00001.jpg"), np.full((224, 224, 3), (10, 20, 200), np.uint8))
    crop = read_crop(tmp_path / "00001.jpg")
    assert crop.shape == (112, 112, 3)
    # JPEG rounds colours
    np.testing.assert_allclose(crop[50, 50], [200, 20, 10], atol=3)
    (tmp_path / "00002.jpg").write_bytes(b"no picture")
    with pytest.raises(CropUnreadable, match="00002"):
        read_crop(tmp_path / "00002.jpg")


def spoil_audio_packets(clip: Path) -> None:
    """Overwrite some packets of a clip's audio by noise."""
    content = clip.read_bytes()
    with av.open(str(clip)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0)]
    for packet in packets[5:30:6]:
        content = content.replace(packet, b"\xa5" * len(packet))
    clip.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("clip.mp4", Fraction(25)),
        ("clip.mp4", Fraction(30_000, 1_001)),
        ("clip.avi", Fraction(24)),  # H.264 in AVI has decoding times only
        ("spoilt.mkv", Fraction(25)),
    ],
)
def test_training_and_serving_decode_the_same_frames_and_audio(
    tmp_path: Path, name: str, rate: Fraction
) -> None:
    clip = tmp_path / name
    random = np.random.default_rng(0)
    waveform = (0.3 * random.standard_normal(40_000)).astype(np.float32)
    images = [random.integers(0, 255, (48, 48, 3), np.uint8) for _ in range(60)]
    codec = "mp2" if clip.suffix == ".avi" else "aac"
    write_clip(clip, iter(images), rate=rate, waveform=waveform, audio_codec=codec)
    if name == "spoilt.mkv":
        spoil_audio_packets(clip)
    times, samples = read_video(clip)
    limits = ClipLimits(max_seconds=60, max_frames=1_000, max_pixels=10_000)
    with open_container(clip) as container:
        reader = VideoReader(
            container, select_video_stream(container, clip), limits=limits, threads=1
        )
        assert times.tolist() == [frame.time_seconds for frame in reader.read()]
    with open_container(clip) as container:
        audio = AudioReader(container, select_audio_stream(container, None))
        served, starts = audio.read_patches([patch_start_hop(seconds) for seconds in times])
    assert starts[0] == 0
    samples = samples[160 * patch_start_hop(times[0]) :]  # the first patch starts there
    count = min(len(served), len(samples))
    assert count > 38_000
    np.testing.assert_array_equal(served[:count], samples[:count])


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(24_000, 1_001), Fraction(30)])
@pytest.mark.parametrize("name", ["clip.avi", "clip.mkv"])
def test_training_and_serving_agree_on_the_times_of_reordered_frames(
    tmp_path: Path, name: str, rate: Fraction
) -> None:
    clip = tmp_path / name
    images = (np.roll(np.eye(48, dtype=np.uint8) * 200, k, axis=1) for k in range(40))
    write_clip(clip, (image[..., None].repeat(3, axis=2) for image in images), rate=rate)
    with av.open(str(clip)) as container:
        pictures = [frame.pict_type for frame in container.decode(video=0)]
    assert pictures.count(PictureType.B) > 10
    times = read_frame_times(clip)
    limits = ClipLimits(max_seconds=60, max_frames=100, max_pixels=10_000)
    with open_container(clip) as container:
        reader = VideoReader(
            container, select_video_stream(container, clip), limits=limits, threads=2
        )
        assert times.tolist() == [frame.time_seconds for frame in reader.read()]
    # AVI's times are decoding times, late by the frames that are held back; Matroska's are in ms
    np.testing.assert_allclose(np.diff(times), float(1 / rate), rtol=0, atol=0.001)


def test_unreadable_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"nothing" * 100)
    with pytest.raises(VideoUnreadable, match=r"clip\.mp4"):
        read_video(tmp_path / "clip.mp4")


def test_rows_past_the_video_continue_at_its_frame_rate() -> None:
    times = np.array([0.0, 0.5, 1.0])
    assert extend_times(times, 5, 30.0).tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert extend_times(times, 2, 30.0).tolist() == [0.0, 0.5]
    assert extend_times(np.zeros(0), 3, 4.0).tolist() == [0.0, 0.25, 0.5]


def test_patches_from_stored_spectra_equal_those_of_the_served_front_end(
    tmp_path: Path, recordings: dict[str, Recording], log_mel: LogMel
) -> None:
    recording = recordings["duo_right"]
    assert recording.video is not None
    times, waveform = read_video(recording.video)
    spectra = SpectraCache(tmp_path, log_mel).read(recording)
    assert spectra.compute_row_times(45, 30.0).tolist() == times[:45].tolist()
    starts = torch.tensor([patch_start_hop(seconds) for seconds in times[:45]])
    expected = log_mel(torch.as_tensor(waveform), starts)
    torch.testing.assert_close(
        spectra.cut_patches(times[:45], PATCH_HOPS), expected, rtol=0, atol=1e-5
    )


def test_a_recording_without_video_is_silent_and_has_the_given_rate(
    tmp_path: Path, log_mel: LogMel, caplog: pytest.LogCaptureFixture
) -> None:
    recordings = (
        ToyRecording(name="a", folder="Train_Set"),
        ToyRecording(name="b", folder="Validation_Set"),
    )
    root = write_dataset(tmp_path / "world", recordings, videos=False)
    recording = read_dataset(root, SILENT)[0]
    cache = SpectraCache(tmp_path / "tracks", log_mel, allow_missing_audio=True)
    assert list(cache.prepare([recording])) == [recording]
    assert "no video, and so no audio: a: silence" in caplog.text
    spectra = cache.read(recording)
    times = spectra.compute_row_times(len(recording), 20.0)
    assert times[-1] == pytest.approx(49 / 20)
    patches = spectra.cut_patches(times, PATCH_HOPS)
    assert patches.shape == (50, PATCH_HOPS, 64)
    silence = log_mel(torch.zeros(16_000), torch.zeros(1, dtype=torch.int64))
    assert torch.equal(silence.expand_as(patches), patches)


def test_windows_start_at_the_service_s_starts() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        window = int(random.integers(2, 40))
        hop, frames = int(random.integers(1, window + 1)), int(random.integers(0, 150))
        features = Features(
            visual=np.zeros((frames, FACE_FEATURES), np.float32),
            audio=np.zeros((frames, VOICE_FEATURES), np.float32),
            mask=np.ones(frames, np.bool_),
        )
        windower = Windower(window_frames=window, hop_frames=hop)
        expected = [cut.start for cut in (*windower.add(features), *windower.close())]
        assert expected == WindowGrid(window_frames=window, hop_frames=hop).window_starts(frames)


def make_samples(
    recordings: dict[str, Recording], spectra: SpectraCache, seed: int = 0
) -> FrameDataset:
    return FrameDataset(
        [recordings["duo_left"], recordings["train0"]],
        SampleSource(modality="visual", spectra=spectra, rate_hz=25),
        grid=WindowGrid(window_frames=30, hop_frames=20),
        frames_per_window=4,
        augmentation=Augmentation(),
        seed=seed,
    )


def test_sample_depends_only_on_seed_epoch_and_window(
    tmp_path: Path, recordings: dict[str, Recording], log_mel: LogMel
) -> None:
    spectra = SpectraCache(tmp_path, log_mel)
    first, again, other = (make_samples(recordings, spectra, seed) for seed in (0, 0, 1))
    later = first[1, 2]
    assert torch.equal(later[0], again[1, 2][0])
    assert not torch.equal(first[0, 2][0], later[0])
    assert not torch.equal(other[1, 2][0], later[0])
    assert torch.isfinite(torch.cat([first[0, window][1] for window in range(4)])).all()


def test_augmentation_is_constant_within_a_window() -> None:
    crops = np.repeat(np.random.default_rng(0).integers(0, 255, (1, 112, 112, 3), np.uint8), 3, 0)
    moved = [Augmentation().apply(crops, np.random.default_rng(seed)) for seed in range(20)]
    for window in moved:
        assert (window == window[0]).all()
        assert window.flags.c_contiguous
    flip_only = Augmentation(
        shift_pixels=0, rotation_degrees=0, scale=0, flip=1.0, contrast=0, tint=0, brightness=0
    )
    mirrored = flip_only.apply(crops, np.random.default_rng(0))
    np.testing.assert_array_equal(crops[:, :, ::-1], mirrored)
    assert len({window.tobytes() for window in moved}) == 20


def test_lighting_augmentation_stays_within_its_limits() -> None:
    light_only = Augmentation(shift_pixels=0, rotation_degrees=0, scale=0, flip=0)
    crops = np.full((1, 112, 112, 3), 100, np.uint8)
    colours = np.array(
        [light_only.apply(crops, np.random.default_rng(seed))[0, 0, 0] for seed in range(300)]
    )
    assert 100 * 0.8 * 0.7 - 26 <= colours.min() < 50
    assert 160 < colours.max() <= 100 * 1.2 * 1.3 + 25
    assert (np.ptp(colours, axis=1) > 10).any()


def test_processes_together_have_every_window_of_an_epoch() -> None:
    def batches(rank: int, ranks: int) -> list[list[tuple[int, int]]]:
        return list(
            EpochBatchSampler(23, epoch=4, batch_size=3, seed=1, rank=rank, world_size=ranks)
        )

    alone = [window for batch in batches(0, 1) for _, window in batch]
    assert sorted(alone) == list(range(23))
    shared = [batches(rank, 2) for rank in range(2)]
    assert len(shared[0]) == len(shared[1]) == 4
    assert {window for part in shared for batch in part for _, window in batch} == set(range(23))


class StubBackbone(torch.nn.Module):
    """Fake backbone that returns the mean of its input and counts its calls."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.call_count = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.call_count += 1
        return inputs.float().flatten(1).mean(dim=1, keepdim=True).expand(-1, self.features)


def test_every_frame_is_embedded_once_and_cached(
    tmp_path: Path, recordings: dict[str, Recording], log_mel: LogMel
) -> None:
    recording, spectra = recordings["duo_left"], SpectraCache(tmp_path / "tracks", log_mel)
    face, voice = StubBackbone(FACE_FEATURES), StubBackbone(VOICE_FEATURES)

    def prepare(weights: str) -> EmbeddingStore:
        embeddings = EmbeddingStore(tmp_path, weights_key=weights, spectra=spectra, rate_hz=25)
        device = torch.device("cpu")
        list(embeddings.prepare([recording], visual=face, audio=voice, device=device))
        return embeddings

    embeddings = prepare("a")
    whole = embeddings.read_features(recording)
    assert (whole.visual.shape, whole.audio.shape) == ((50, FACE_FEATURES), (50, VOICE_FEATURES))
    assert whole.visual[20, 0] == whole.visual[19, 0] != whole.visual[21, 0]
    assert whole.mask.tolist() == [False, False, *[True] * 48]
    part = embeddings.read_features(recording, 10, 20)
    np.testing.assert_array_equal(whole.visual[10:20], part.visual)
    call_count = face.call_count
    prepare("a")
    assert call_count == face.call_count
    replaced = prepare("b")
    assert call_count < face.call_count
    with pytest.raises(CacheReplaced, match="duo_left"):
        embeddings.read_features(recording)
    assert replaced.read_times(recording)[-1] == pytest.approx(49 / 25)
