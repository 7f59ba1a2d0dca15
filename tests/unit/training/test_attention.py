"""LA-SE attention, against its equations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from training.networks.attention import ChannelAttention, LocalAttention, LocalThenChannelAttention

Doubles = npt.NDArray[np.float64]


def sigmoid(x: Doubles) -> Doubles:
    return 1 / (1 + np.exp(-x))


def weights(layer: torch.nn.Module) -> list[Doubles]:
    return [value.detach().double().numpy() for value in layer.parameters()]


def test_lanet_then_senet_follow_their_equations() -> None:
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # untyped seed
    network = LocalThenChannelAttention(32, reduction=16)
    x = torch.randn(2, 32, 3, 5)
    w1, b1, w2, b2 = weights(network.local)
    w3, w4 = weights(network.channel)
    expected = np.empty((2, 32, 3, 5))
    for n, image in enumerate(x.double().numpy()):
        attended = np.empty_like(image)
        for row in range(3):
            for column in range(5):
                hidden = np.maximum(w1[:, :, 0, 0] @ image[:, row, column] + b1, 0)
                score = sigmoid(w2[:, :, 0, 0] @ hidden + b2)
                attended[:, row, column] = image[:, row, column] * score
        pooled = attended.mean(axis=(1, 2))
        channels = sigmoid(w4 @ np.maximum(w3 @ pooled, 0))
        expected[n] = attended * channels[:, None, None]
    # float32 against float64, sums of 32 terms of order 1
    np.testing.assert_allclose(network(x).detach().numpy(), expected, rtol=0, atol=1e-6)


def test_reduction_is_sixteen_and_only_lanet_has_biases() -> None:
    network = LocalThenChannelAttention(512)
    assert {"reduce.weight", "reduce.bias", "score.weight", "score.bias"} == set(
        network.local.state_dict()
    )
    assert {"reduce.weight", "score.weight"} == set(network.channel.state_dict())
    assert tuple(network.local.reduce.weight.shape) == (32, 512, 1, 1)
    assert tuple(network.channel.reduce.weight.shape) == (32, 512)


def test_attention_does_not_depend_on_the_position_in_the_batch() -> None:
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # untyped seed
    x = torch.randn(8, 16, 7, 7)
    for network in (LocalAttention(16, 4), ChannelAttention(16, 4)):
        assert torch.equal(network(x).flip(0), network(x.flip(0)))
