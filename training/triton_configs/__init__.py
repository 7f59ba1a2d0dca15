"""Configurations of Triton's models, from one template for each slot."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

from service.domain.estimator import EstimatorId
from service.domain.model_signatures import VALENCE_AROUSAL

_FACE_ONLY_ENSEMBLE: Final = f"{VALENCE_AROUSAL.name}_face"
_PART: Final = re.compile(r'^(\s*model_name: )"(\w+)"', re.MULTILINE)


def render_config(
    estimator: EstimatorId, slot: str, *, has_voice: bool = True, file_sha256: str = ""
) -> str:
    """Render the config.pbtxt of one of an estimator's models.

    Args: file_sha256: of its exported file, which the server then reports; empty: it has none.
    """
    is_face_only = slot == VALENCE_AROUSAL.name and not has_voice
    template = _FACE_ONLY_ENSEMBLE if is_face_only else slot
    text = files(__name__).joinpath(f"{template}.pbtxt").read_text(encoding="utf-8")
    text = _PART.sub(lambda part: f'{part[1]}"{estimator.part_name(part[2])}"', text)
    lines = [f'name: "{estimator.part_name(slot)}"', text.rstrip()]
    if file_sha256:
        value = f'value {{ string_value: "{file_sha256}" }}'
        lines.append(f'\nparameters {{ key: "FILE_SHA256" {value} }}')
    return "\n".join(lines) + "\n"
