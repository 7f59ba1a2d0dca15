"""Scene of several actors with one camera, who can cross, leave and return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.domain.array_types import UInt8Array
from training.synthetic.actor import Actor
from training.synthetic.background import render_background
from training.synthetic.camera import Camera, HeadPlacement
from training.synthetic.expression import Expression
from training.synthetic.face import ActorRenderer

MotionPath = Callable[[float], tuple[float, float, float] | None]
"""Position of an actor at a time: the head's centre relative to width and height, and half its
height relative to the image's height; None: not in the scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneActor:
    """An actor and their motion through the scene."""

    seed: int
    path: MotionPath


class GroupScene:
    """A room with actors; later actors are drawn in front of earlier ones."""

    def __init__(
        self, actors: Sequence[SceneActor], *, height: int, width: int, background_seed: int = 1000
    ) -> None:
        """Create a scene; `background_seed` is of the room and its light, shared by all actors."""
        background_actor = Actor.from_seed(background_seed)
        self._height, self._width = height, width
        self._background = render_background(background_actor, height, width)
        self._camera = Camera()
        self._actors = [
            (
                each,
                ActorRenderer(
                    _match_lighting(Actor.from_seed(each.seed), background_actor),
                    density=0.25 * height,
                ),
            )
            for each in actors
        ]

    def render_frame(self, seconds: float, expression: Expression | None = None) -> UInt8Array:
        """Render the frame at a time, (H, W, 3) uint8 RGB."""
        light = self._background.copy()
        for actor, actor_renderer in self._actors:
            position = actor.path(seconds)
            if position is None:
                continue
            x, y, size = position
            view = HeadPlacement(unit=size * self._height, x=x * self._width, y=y * self._height)
            actor_renderer.draw(light, view, expression or Expression())
        return self._camera.render_pixels(light, blur_pixels=0.0, grain=None)


def _match_lighting(actor: Actor, reference: Actor) -> Actor:
    return replace(
        actor, light_azimuth=reference.light_azimuth, light_warmth=reference.light_warmth
    )
