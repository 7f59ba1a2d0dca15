"""Several actors before one camera: they cross, leave and return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.domain.arrays import Bytes
from training.synthetic.actor import Actor
from training.synthetic.camera import Camera, View
from training.synthetic.expression import Expression
from training.synthetic.face import Puppet
from training.synthetic.room import room_light

Way = Callable[[float], tuple[float, float, float] | None]
"""Where an actor is at a moment: the head's middle as shares of width and height, and half its
height as a share of the picture's height; None: not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """An actor and their way through the scene."""

    seed: int
    way: Way


class Company:
    """A room and those in it; who comes later in `roles` stands further in front."""

    def __init__(self, roles: Sequence[Role], *, height: int, width: int, room: int = 1000) -> None:
        """Args: room: the seed of the room and its light, which fall on all alike."""
        host = Actor.of_seed(room)
        self._height, self._width = height, width
        self._room = room_light(host, height, width)
        self._camera = Camera()
        self._cast = [
            (each, Puppet(_lit_like(Actor.of_seed(each.seed), host), density=0.25 * height))
            for each in roles
        ]

    def picture(self, seconds: float, expression: Expression | None = None) -> Bytes:
        """(H, W, 3) uint8 RGB of a moment."""
        light = self._room.copy()
        for role, puppet in self._cast:
            place = role.way(seconds)
            if place is None:
                continue
            x, y, size = place
            view = View(unit=size * self._height, x=x * self._width, y=y * self._height)
            puppet.draw(light, view, expression or Expression())
        return self._camera.develop(light, blur_pixels=0.0, grain=None)


def _lit_like(actor: Actor, host: Actor) -> Actor:
    return replace(actor, light_azimuth=host.light_azimuth, light_warmth=host.light_warmth)
