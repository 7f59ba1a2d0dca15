"""VGGish front end: waveform to log-mel patches.

Every spectrum is computed once and shared by the patches that contain it; the original cuts the
waveform first, with the same result. Like the original it computes in float64: in float32 the
rounding of a loud band is visible in a quiet one, where the logarithm is steep (5e-5 on speech).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from service.domain.audio_grid import (
    HOP_SAMPLES,
    MEL_BANDS,
    PATCH_HOPS,
    SAMPLE_RATE_HZ,
    WINDOW_SAMPLES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMelConfig:
    """Parameters of the front end. Source: vggish_params [L]."""

    sample_rate_hz: int = SAMPLE_RATE_HZ
    window_samples: int = WINDOW_SAMPLES
    hop_samples: int = HOP_SAMPLES
    fft_length: int = 512
    bands: int = MEL_BANDS
    lowest_hz: float = 125.0
    highest_hz: float = 7500.0
    log_offset: float = 0.01
    patch_hops: int = PATCH_HOPS


class LogMel(nn.Module):
    """log(mel magnitude + 0.01) of 25 ms periodic Hann windows every 10 ms, not centred."""

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.window_samples = config.window_samples
        self.hop_samples = config.hop_samples
        self.fft_length = config.fft_length
        self.log_offset = config.log_offset
        self.patch_hops = config.patch_hops
        self.window = nn.Buffer(
            torch.hann_window(config.window_samples, periodic=True, dtype=torch.float64)
        )
        self.bands = nn.Buffer(build_mel_matrix(config))

    def forward(self, waveform: Tensor, patch_starts: Tensor) -> Tensor:
        """Cut one patch at each start; the waveform is padded with silence.

        Args:
            waveform: (S,) float32 in [-1, 1], mono, 16 kHz.
            patch_starts: (T,) int64, not negative, in hops of 10 ms.
        Returns: (T, 96, 64) float32.

        """
        hops = int(patch_starts.max()) + self.patch_hops
        samples = (hops - 1) * self.hop_samples + self.window_samples
        missing = max(0, samples - waveform.shape[0])
        padded = functional.pad(waveform, (0, missing))[:samples]
        frames = padded.unfold(0, self.window_samples, self.hop_samples)
        steps = torch.arange(self.patch_hops, device=patch_starts.device)
        return self.compute_spectra(frames)[patch_starts[:, None] + steps]

    def compute_spectra(self, frames: Tensor) -> Tensor:
        """(H, 400) samples to (H, 64) log-mel, float32."""
        windowed = frames.double() * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(windowed, n=self.fft_length))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]  # torch.fft has no types
        # Not abs(): its rounding depends on a number's position in the tensor.
        magnitude = (spectrum[..., 0].square() + spectrum[..., 1].square()).sqrt()
        return torch.log(magnitude @ self.bands + self.log_offset).float()


def build_mel_matrix(config: LogMelConfig) -> Tensor:
    """Build triangular filters, linear in HTK mel, for the magnitude spectrum; DC has weight 0.

    Returns: (fft_length / 2 + 1, bands) float64. Source: mel_features of VGGish [L].
    """
    bins = _hertz_to_mel(
        torch.linspace(
            0, config.sample_rate_hz / 2, config.fft_length // 2 + 1, dtype=torch.float64
        )
    )
    limits = _hertz_to_mel(torch.tensor([config.lowest_hz, config.highest_hz], dtype=torch.float64))
    edges = torch.linspace(
        float(limits[0]), float(limits[1]), config.bands + 2, dtype=torch.float64
    )
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - lower) / (centre - lower)
    falling = (upper - bins[:, None]) / (upper - centre)
    weights = torch.minimum(rising, falling).clamp(min=0)
    weights[0] = 0
    return weights


def _hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)
