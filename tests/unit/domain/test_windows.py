"""Windows of frames and the merging of their outputs."""

import numpy as np
import pytest

from service.domain.windows import Features, FusionOutput, Merger, Window, Windower


def make_features(frames: int, *, first: int = 0) -> Features:
    """Features whose values are their frame's index."""
    index = np.arange(first, first + frames, dtype=np.float32)[:, None]
    return Features(
        visual=np.repeat(index, 512, axis=1),
        audio=np.repeat(index, 128, axis=1),
        mask=np.ones(frames, np.bool_),
    )


def starts_and_frames(total: int, chunk: int) -> list[tuple[int, int]]:
    windower = Windower(window_frames=300, hop_frames=200)
    windows: list[Window] = []
    for first in range(0, total, chunk):
        windows += windower.add(make_features(min(chunk, total - first), first=first))
    windows += windower.close()
    assert all(len(window.features) == 300 for window in windows)
    return [(window.start, window.frames) for window in windows]


@pytest.mark.parametrize("chunk", [1, 32, 299, 1000])
@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (0, []),
        (1, [(0, 1)]),
        (299, [(0, 299)]),
        (300, [(0, 300)]),
        (301, [(0, 300), (200, 101)]),
        (500, [(0, 300), (200, 300)]),
        (501, [(0, 300), (200, 300), (400, 101)]),
    ],
)
def test_windows_cover_every_frame_without_a_superfluous_window(
    total: int, chunk: int, expected: list[tuple[int, int]]
) -> None:
    assert starts_and_frames(total, chunk) == expected


def test_short_clip_is_padded_with_zeros_and_masked() -> None:
    windower = Windower(window_frames=300, hop_frames=200)
    assert list(windower.add(make_features(7, first=1))) == []
    (window,) = windower.close()
    assert window.features.mask.tolist() == [True] * 7 + [False] * 293
    assert window.features.visual[:7, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert not window.features.visual[7:].any()
    assert not window.features.audio[7:].any()


def test_merged_frames_equal_a_naive_average_over_windows() -> None:
    random = np.random.default_rng(1)
    total, lengths = 1234, [300, 300, 300, 300, 300, 234]
    starts = [0, 200, 400, 600, 800, 1000]
    means = [random.uniform(-1, 1, (length, 2)).astype(np.float32) for length in lengths]
    spreads = [random.uniform(0, 1, (length, 2)).astype(np.float32) for length in lengths]

    merger = Merger(hop_frames=200)
    parts = [
        merger.add(FusionOutput(mean=m, spread=s)) for m, s in zip(means, spreads, strict=True)
    ]
    parts.append(merger.close())

    merged_mean = np.concatenate([part.mean for part in parts])
    merged_spread = np.concatenate([part.spread for part in parts])
    assert len(merged_mean) == total
    for frame in range(total):
        covering = [(k, frame - s) for k, s in enumerate(starts) if 0 <= frame - s < lengths[k]]
        mean = np.mean([means[k][row] for k, row in covering], axis=0)
        variance = np.mean([spreads[k][row] ** 2.0 for k, row in covering], axis=0)
        # float32 rounding of the outputs, nothing more
        np.testing.assert_allclose(merged_mean[frame], mean, atol=1e-7)
        np.testing.assert_allclose(merged_spread[frame], np.sqrt(variance), atol=1e-7)


def test_frame_is_released_as_soon_as_no_later_window_reaches_it() -> None:
    merger = Merger(hop_frames=200)
    output = FusionOutput(
        mean=np.zeros((300, 2), np.float32), spread=np.zeros((300, 2), np.float32)
    )
    assert [len(merger.add(output)), len(merger.add(output)), len(merger.close())] == [
        200,
        200,
        100,
    ]
