"""Fusion of a network's layers for inference: batch norms, sums and activations into convolutions.

The fused network has copies of the weights, which its state dict leaves out; the network itself
stays as it is.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Final, cast

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.inference.fused_layers import FusedConvolution, FusedLinear, FusedSum
from training.networks.same_padding import SamePadding, SamePooling

_LEAVES: Final = (SamePadding, SamePooling)
"""Modules whose computation depends on shapes; they stay as they are."""
_NOTHING: Final = (nn.Identity, nn.Dropout)
_SUMS: Final = (operator.add, torch.add)


class _LayerTracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or super().is_leaf_module(m, module_qualified_name)


def fuse_layers(network: nn.Module) -> fx.GraphModule:
    """Build a network of fused layers that computes what a network does in evaluation mode."""
    copy = deepcopy(network).eval()
    fused = LayerFusion(fx.GraphModule(copy, _LayerTracer().trace(copy))).fuse()
    for module in fused.modules():
        _make_weights_constant(module)
    return fused


def _make_weights_constant(module: nn.Module) -> None:
    """Take a module's weights out of the state dict, where the network itself has them."""
    weights = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    for name, weight in weights:
        delattr(module, name)
        module.register_buffer(name, weight.detach(), persistent=False)


class LayerFusion:
    """Replacement of a traced network's layers, each together with the nodes after it."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self._traced = traced
        modules = cast("Iterable[tuple[str, nn.Module]]", traced.named_modules())
        self._modules = dict(modules)

    def fuse(self) -> fx.GraphModule:
        """Fuse every convolution and linear layer; return the network."""
        for node in list(self._traced.graph.nodes):
            node.type = None  # TorchScript does not know the name that FX writes
            layer = self._read_module(node)
            if isinstance(layer, _NOTHING):
                node.replace_all_uses_with(node.all_input_nodes[0])
                self._traced.graph.erase_node(node)
            elif isinstance(layer, nn.Conv2d):
                self._fuse_convolution(node, layer)
            elif isinstance(layer, nn.Linear):
                last, activation = self._follow_activation(node, ("relu",))
                self._replace(node, last, FusedLinear(layer, activation))
        self._traced.delete_all_unused_submodules()
        self._traced.recompile()
        return self._traced

    def _fuse_convolution(self, node: fx.Node, layer: nn.Conv2d) -> None:
        last = node
        follower = _find_only_user(last)
        if follower and isinstance(norm := self._read_module(follower), nn.BatchNorm2d):
            layer, last = fuse_conv_bn_eval(layer, norm), follower
        follower = _find_only_user(last)
        others = [each for each in follower.all_input_nodes if each is not last] if follower else []
        if follower and follower.target in _SUMS and others:
            last, activation = self._follow_activation(follower, ("relu",))
            self._replace(node, last, FusedSum(layer, activation), *others)
        else:
            last, activation = self._follow_activation(last, ("relu", "swish"))
            self._replace(node, last, FusedConvolution(layer, activation))

    def _follow_activation(self, node: fx.Node, fusible: tuple[str, ...]) -> tuple[fx.Node, str]:
        """Return the activation's node and name if it alone follows, otherwise the node itself."""
        follower = _find_only_user(node)
        name = self._read_activation(follower) if follower else ""
        return (follower, name) if follower and name in fusible else (node, "none")

    def _read_activation(self, node: fx.Node) -> str:
        module = self._read_module(node)
        if isinstance(module, nn.ReLU) or node.target in (functional.relu, torch.relu, "relu"):
            return "relu"
        return "swish" if isinstance(module, nn.SiLU) else ""

    def _read_module(self, node: fx.Node) -> nn.Module | None:
        is_module = node.op == "call_module"
        return self._modules[str(node.target)] if is_module else None

    def _replace(self, first: fx.Node, last: fx.Node, fused: nn.Module, *others: fx.Node) -> None:
        """Put a module in the place of the nodes from a layer's to the last that it computes."""
        target = str(first.target)
        self._traced.set_submodule(target, fused)
        with self._traced.graph.inserting_before(last):
            node = self._traced.graph.call_module(target, (first.args[0], *others))
        last.replace_all_uses_with(node)
        while last is not first:
            before = next(each for each in last.all_input_nodes if each not in others)
            self._traced.graph.erase_node(last)
            last = before
        self._traced.graph.erase_node(first)


def _find_only_user(node: fx.Node) -> fx.Node | None:
    users = cast("dict[fx.Node, Any]", node.users)
    return next(iter(users)) if len(users) == 1 else None
