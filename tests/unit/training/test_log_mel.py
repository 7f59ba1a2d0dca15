"""Log-mel front end, against the definition."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from training.networks.log_mel import LogMel, LogMelConfig, build_mel_matrix

NETWORK = LogMel(LogMelConfig()).eval()


def naive_log_mel(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute one spectrum of 400 samples, by the definition, in float64."""
    windowed = [
        sample * (0.5 - 0.5 * math.cos(2 * math.pi * n / 400)) for n, sample in enumerate(samples)
    ]
    grid = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    magnitude = np.abs(grid @ np.array(windowed))

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    edges = np.linspace(mel(125), mel(7500), 66)
    bands: list[float] = []
    for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
        energy = 0.0
        for k in range(1, 257):  # without the bin of 0 Hz
            position = mel(k * 16_000 / 512)
            slope = min((position - low) / (centre - low), (high - position) / (high - centre))
            energy += max(0.0, slope) * magnitude[k]
        bands.append(math.log(energy + 0.01))
    return np.array(bands)


def make_waveform(seconds: float) -> torch.Tensor:
    samples = torch.randn(int(seconds * 16_000), generator=torch.Generator().manual_seed(0))
    return 0.1 * samples


def test_every_step_of_a_patch_is_the_log_mel_of_its_25_ms() -> None:
    waveform = make_waveform(1.5)
    patches = NETWORK(waveform, torch.tensor([7]))
    assert tuple(patches.shape) == (1, 96, 64)
    for step in (0, 1, 50, 95):
        start = (7 + step) * 160
        expected = naive_log_mel(waveform[start : start + 400].double().numpy())
        # float32 sums over 257 bins, then a logarithm of numbers of order 1
        np.testing.assert_allclose(patches[0, step].numpy(), expected, rtol=0, atol=1e-5)


def test_patches_share_their_spectra() -> None:
    patches = NETWORK(make_waveform(3), torch.tensor([0, 4, 100]))
    assert torch.equal(patches[0, 4:], patches[1, :-4])
    assert torch.equal(patches[2], NETWORK(make_waveform(3)[16_000:], torch.tensor([0]))[0])


def test_patches_do_not_depend_on_how_a_clip_is_split() -> None:
    starts = torch.arange(0, 400, 4)
    whole = NETWORK(make_waveform(6), starts)
    for first, count in ((0, 1), (8, 3), (31, 32), (60, 40)):
        hop = int(starts[first])
        cut = NETWORK(make_waveform(6)[hop * 160 :], starts[first : first + count] - hop)
        assert torch.equal(whole[first : first + count], cut)


def test_a_short_waveform_is_padded_with_silence() -> None:
    short = make_waveform(0.5)
    padded = torch.cat([short, torch.zeros(16_000)])
    starts = torch.tensor([0, 30, 60])
    assert torch.equal(NETWORK(padded, starts), NETWORK(short, starts))
    assert torch.allclose(NETWORK(torch.zeros(0), starts), torch.tensor(math.log(0.01)))


def test_every_mel_band_has_weight_and_none_covers_dc() -> None:
    matrix = build_mel_matrix(LogMelConfig())
    assert tuple(matrix.shape) == (257, 64)
    assert (matrix.sum(dim=0) > 0).all()
    assert matrix[0].sum() == 0
