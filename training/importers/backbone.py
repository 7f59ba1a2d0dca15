"""Imported backbone: a safetensors file, and a JSON record of its origin beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from training.data.files import load_tensors
from training.importers.errors import BackboneFileInvalid
from training.importers.layouts import BackboneKind, VggishFlags, build_config, build_meta_network
from training.networks.initialisation import seed_weights
from training.networks.published_backbones import PROJECTION_PREFIX
from training.networks.vggish import Vggish, VggishConfig
from training.networks.visual_architectures import (
    PublishedConfig,
    VisualConfig,
    build_visual_network,
)

FORMAT: Final = 1
_UNTRAINED_PREFIXES: Final = ("attention.", PROJECTION_PREFIX)
"""Keys of LA-SE and of the projection, which no public file has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedBackbone:
    """Weights under this project's keys, and their record: kind, source, flags, unmatched keys."""

    kind: BackboneKind
    flags: VggishFlags
    state: dict[str, Tensor]
    record: dict[str, Any]

    @property
    def config(self) -> VisualConfig | VggishConfig:
        """Configuration under which this project's network equals the public one."""
        return build_config(self.kind, self.flags)

    @property
    def origin(self) -> dict[str, Any]:
        """Origin of served weights, for the provenance file."""
        sources = {key: source for key, source in self.record.items() if key.endswith("source")}
        return {
            "training": "imported",
            "kind": str(self.kind),
            **sources,
            "settings": asdict(self.config),
        }

    def build(self) -> nn.Module:
        """Build the public network in evaluation mode, without LA-SE; a projection is random."""
        config = self.config
        if isinstance(config, PublishedConfig):
            network = build_visual_network(config)
            seed_weights(network, 0, "visual")
            self.load_into(network)
            return network.eval()
        network = build_meta_network(config)
        network.load_state_dict(self.state, assign=True)
        return network.eval()

    def build_visual(self) -> nn.Module:
        """Build the network if it is a visual backbone.

        Raises: BackboneFileInvalid: it is an audio backbone.
        """
        if isinstance(self.config, VggishConfig):
            raise BackboneFileInvalid(f"{self.kind} is not a visual backbone.")
        return self.build()

    def build_audio(self) -> Vggish:
        """Build the network if it is an audio backbone.

        Raises: BackboneFileInvalid: it is a visual backbone.
        """
        network = self.build()
        if not isinstance(network, Vggish):
            raise BackboneFileInvalid(f"{self.kind} is not an audio backbone.")
        return network

    def load_into(self, network: nn.Module) -> None:
        """Copy the weights into a network of this configuration; LA-SE and projection are kept.

        Raises: BackboneFileInvalid: the network has other keys or shapes.
        """
        expected = _list_public_shapes(network)
        if expected != {key: value.shape for key, value in self.state.items()}:
            raise BackboneFileInvalid(f"{self.kind} weights do not fit this network's settings.")
        network.load_state_dict(self.state, strict=False)


def write_backbone(backbone: ImportedBackbone, folder: Path) -> Path:
    """Write `<kind>.safetensors` and, last, `<kind>.json`, each atomically.

    Returns: the path of the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{backbone.kind}.safetensors"
    part = folder / f".{weights.name}.part"
    # Not save_file: its files are readable by their owner only, whatever the umask.
    part.write_bytes(safetensors.torch.save(backbone.state, {"kind": str(backbone.kind)}))
    record = {"format": FORMAT, **backbone.record, "file_sha256": _hash_file(part)}
    part.replace(weights)
    part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    part.replace(weights.with_suffix(".json"))
    return weights


def read_backbone(file: Path) -> ImportedBackbone:
    """Read a backbone that `write_backbone` wrote.

    Raises: BackboneFileInvalid: a file is missing, the record is of other weights, or the keys are
        not the network's.
    """
    if not file.with_suffix(".json").is_file():
        raise BackboneFileInvalid(
            f"{file.name} has no record beside it. Public files are imported first: "
            "python -m training import-backbone."
        )
    try:
        record = json.loads(file.with_suffix(".json").read_bytes())
        kind, flags = BackboneKind(record["kind"]), VggishFlags(**record["flags"])
        if (record["format"], record["file_sha256"]) != (FORMAT, _hash_file(file)):
            raise BackboneFileInvalid(f"{file.name} is not the file that its record describes.")
        state = load_tensors(file)
    except OSError as error:
        raise BackboneFileInvalid(f"{error.filename}: {error.strerror}.") from error
    except (LookupError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise BackboneFileInvalid(f"{file.name} or its record is damaged: {error}.") from error
    expected = _list_public_shapes(build_meta_network(build_config(kind, flags)))
    if expected != {k: v.shape for k, v in state.items()}:
        raise BackboneFileInvalid(f"The keys of {file.name} are not those of {kind}.")
    return ImportedBackbone(kind=kind, flags=flags, state=state, record=record)


def _list_public_shapes(network: nn.Module) -> dict[str, torch.Size]:
    """List the shapes of the tensors that a public file has."""
    state: dict[str, Tensor] = network.state_dict()
    return {k: v.shape for k, v in state.items() if not k.startswith(_UNTRAINED_PREFIXES)}


def _hash_file(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
