"""Imported networks against the public implementations, on seeded weights and inputs.

The expected values are outputs of the public code for `public_layouts.make_state_dict`,
`make_crops` and `make_waveform`, on one thread: ArcFace-torch's `iresnet50` (insightface 7fadd420),
ABAW3's `VisualBackbone(mode="ir")` (fbb305ae) and torchvggish (f3f9096a) with its numpy log-mel. On
the machine of the measurement this project gave the same bits; the log-mel, which torchvggish
leaves in float64, agreed to 3e-7.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.unit.importers import public_layouts as public
from training.importers.import_backbone import import_backbone
from training.importers.layouts import BackboneKind
from training.networks.log_mel import LogMel, LogMelConfig
from training.serving import ServedVisualBackbone

LOG_MEL = LogMel(LogMelConfig()).eval()


def scaled(crops: Tensor) -> Tensor:
    return (crops.float() / 255 - 0.5) / 0.5


def assert_statistics_match(
    actual: Tensor, *, first: list[float], last: list[float], mean: float, std: float
) -> None:
    """Compare to 1e-5 of numbers of order 1; other CPU kernels differ by 9e-6."""
    values = actual.double()
    statistics = [*values[0, : len(first)], *values[-1, -len(last) :], values.mean()]
    expected = [*first, *last, mean]
    np.testing.assert_allclose(np.array(statistics), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values.std(correction=0), std, rtol=1e-5)


@torch.inference_mode()
def test_arcface_weights_embed_a_crop_as_arcface_torch_does(arcface_file: Path) -> None:
    network = import_backbone(BackboneKind.ARCFACE, arcface_file).build()
    assert_statistics_match(
        network(scaled(public.make_crops())),
        first=[0.1031149, 1.8164274, 0.9315293, -0.4904328, -0.399987, 1.1638823],
        last=[-0.0867076, -0.0407313, -1.496839],
        mean=-0.0105038,
        std=1.4077357,
    )


@torch.inference_mode()
def test_emotion_weights_embed_the_centre_of_a_face_as_their_pipeline_does(
    emotion_file: Path,
) -> None:
    network = import_backbone(BackboneKind.EMOTION, emotion_file).build()
    embeddings = network(scaled(public.make_crops()))
    assert_statistics_match(
        embeddings,
        first=[0.0075514, 0.0312114, -0.0080291, 0.0461696, -0.0574899, 0.0098082],
        last=[0.0096252, 0.0122124, -0.025533],
        mean=-0.0017787,
        std=0.0441584,
    )
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3), rtol=0, atol=1e-6)


@torch.inference_mode()
def test_an_emotion_embedding_is_bit_identical_in_every_batch(
    emotion_file: Path,
) -> None:
    served = ServedVisualBackbone(
        import_backbone(BackboneKind.EMOTION, emotion_file).build_visual()
    )
    together = served(public.make_crops()[[2, 0, 1, 0, 2]])
    alone = torch.cat([served(crop[None]) for crop in public.make_crops()])
    assert torch.equal(together, alone[[2, 0, 1, 0, 2]])


def test_log_mel_equals_torchvggish_during_and_after_a_loud_tone() -> None:
    spectra = LOG_MEL.compute_spectra(public.make_waveform().unfold(0, 400, 160))
    assert tuple(spectra.shape) == (198, 64)
    first = [2.2451109, 3.8778747, 4.3827604, 4.0834722, 2.452939, 0.5679584]
    silent = [-3.8185877, -3.0854715, -2.4299849, -2.1141425]
    # float32 holds these numbers to 5e-7
    np.testing.assert_allclose(spectra[0, :6].numpy(), first, rtol=0, atol=1e-6)
    np.testing.assert_allclose(spectra[150, ::16].numpy(), silent, rtol=0, atol=1e-6)
    np.testing.assert_allclose(spectra.double().mean(), -2.2759092, rtol=0, atol=1e-6)
    np.testing.assert_allclose(spectra.double().std(correction=0), 1.4534626, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_vggish_weights_embed_a_patch_as_torchvggish_does(vggish_file: Path) -> None:
    patches = LOG_MEL(public.make_waveform(), torch.tensor([0, 96]))
    raw = import_backbone(BackboneKind.VGGISH, vggish_file).build()(patches)
    assert_statistics_match(
        raw,
        first=[-0.1780971, 0.1251128, -0.3020217, -0.106844, -0.0181929, 0.10392],
        last=[-0.0621604, -0.1586513, -0.0280146],
        mean=-0.0067045,
        std=0.1443950,
    )
    with_relu = import_backbone(BackboneKind.VGGISH, vggish_file, final_relu=True).build()(patches)
    assert torch.equal(with_relu, raw.relu())


@torch.inference_mode()
def test_vggish_with_pca_gives_the_integers_of_torchvggish(
    vggish_file: Path, tmp_path: Path
) -> None:
    pca = tmp_path / "pca.npz"
    axes, means = 0.25 * public.draw_array("axes", (128, 128)), public.draw_array("means", (128, 1))
    np.savez(pca, pca_eigen_vectors=axes, pca_means=means[:, 0])
    network = import_backbone(BackboneKind.VGGISH, vggish_file, final_relu=True, pca=pca).build()
    actual = network(LOG_MEL(public.make_waveform(), torch.tensor([0, 96])))
    expected = [140, 136, 210, 144, 196, 123, 152, 45, 100, 108, 224, 87, 106, 0, 151, 86, 102, 138]
    # With other CPU kernels a number between two steps may round to either.
    torch.testing.assert_close(actual[0, :18], torch.tensor(expected).float(), rtol=0, atol=1)
    assert torch.equal(actual, actual.round())
