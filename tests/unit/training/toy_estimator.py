"""Toy estimator: the brightness of bands of a crop, exported as an estimator is served."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from service.domain.estimator import EstimatorId, EstimatorManifest
from service.domain.model_signatures import FACE_FEATURES
from training.export import ExportTarget, write_estimator

BANDS = 8


class BandBrightness(nn.Module):
    """Crops to features, of which the first eight are the brightness of horizontal bands."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1 / 255))

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 3, 112, 112) uint8 to (N, 512)."""
        bands = crops.float().mean(dim=[1, 3]).reshape(-1, 8, 14).mean(dim=2)
        return nn.functional.pad(bands * self.scale, (0, 504))


class CrudeFusion(nn.Module):
    """Valence of the last band's brightness, arousal of nothing; of the frame before, if asked."""

    def __init__(self, delay: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.delay = delay

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(T, 512), (T, 128), (T,) to (T, 2) twice."""
        mean = self.gain * torch.stack([visual[..., 7] - 0.5, 0.0 * visual[..., 0]], dim=-1)
        mean = torch.roll(mean, self.delay, dims=-2)
        return mean, torch.zeros_like(mean)


def export_toy_estimator(
    repository: Path, *, head_features: int = BANDS, delay: int = 0
) -> EstimatorManifest:
    """Export `toy@1`."""
    assert BANDS <= FACE_FEATURES
    visual, fusion = BandBrightness().eval(), CrudeFusion(delay).eval()
    models: dict[str, nn.Module] = {
        "visual_backbone": visual,
        "live_visual_backbone": visual,
        "fusion": fusion,
        "live_fusion": fusion,
    }
    return write_estimator(
        models,
        ExportTarget(repository=repository, estimator=EstimatorId("toy", 1)),
        origins={slot: {"training": "none"} for slot in models},
        facts={
            "title": "Brightness.",
            "domain": "photographs",
            "modalities": ["face"],
            "preprocessing": "none",
            "smoothing_seconds": 0.2,
            "head_features": head_features,
            "licences": {"code": "CODE", "weights": "WEIGHTS", "data": "DATA"},
        },
    )
