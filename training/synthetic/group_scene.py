"""Several actors before one camera: they cross, leave and return."""

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
"""Where an actor is at a moment: the head's middle as shares of width and height, and half its
height as a share of the picture's height; None: not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneActor:
    """An actor and their way through the scene."""

    seed: int
    path: MotionPath


class GroupScene:
    """A room and those in it; who comes later in `roles` stands further in front."""

    def __init__(
        self, actors: Sequence[SceneActor], *, height: int, width: int, background_seed: int = 1000
    ) -> None:
        """Args: room: the seed of the room and its light, which fall on all alike."""
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
        """(H, W, 3) uint8 RGB of a moment."""
        light = self._background.copy()
        for role, actor_renderer in self._actors:
            place = role.path(seconds)
            if place is None:
                continue
            x, y, size = place
            view = HeadPlacement(unit=size * self._height, x=x * self._width, y=y * self._height)
            actor_renderer.draw(light, view, expression or Expression())
        return self._camera.render_pixels(light, blur_pixels=0.0, grain=None)


def _match_lighting(actor: Actor, reference: Actor) -> Actor:
    return replace(
        actor, light_azimuth=reference.light_azimuth, light_warmth=reference.light_warmth
    )
