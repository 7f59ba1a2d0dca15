"""Container trees: the nested structure of any container as nodes, and mutations of it.

Nodes are written with their actual size unless `size` is set, so that one wrong size deep inside
a file is the only one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.fuzz.damage import damage, overwrite_number

MAX_NESTING_DEPTH: Final = 60
MAX_COPIES: Final = 40


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """A box, an element or a chunk.

    kind: type, id or name, as written. body: content before the children; all content of a leaf.
    size: a wrong size field, as written. form: variant in which the format writes this node.
    """

    kind: bytes
    body: bytes = b""
    children: list[Node] = field(default_factory=list["Node"])
    size: bytes | None = None
    form: int = 0

    def walk(self) -> Iterator[Node]:
        """Yield the node and its descendants."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFormat:
    """Nested format of a container: `parse` reads its nodes, `write` writes one.

    kinds: known types. demuxer_fields: types whose fields demuxers depend on.
    make_wrong_size: makes a wrong size field for a node of some size.
    """

    parse: Callable[[bytes], list[Node]]
    write: Callable[[Node], bytes]
    kinds: tuple[bytes, ...]
    demuxer_fields: frozenset[bytes]
    make_wrong_size: Callable[[Random, int], bytes]


def mutate(data: bytes, nesting: ContainerFormat, rng: Random) -> tuple[bytes, str]:
    """Parse, apply one mutation to one node, write; returns the data and the mutation's name."""
    root = Node(kind=b"", children=nesting.parse(data))
    if not root.children:
        return damage(data, rng)
    mutation = rng.choice((*(_corrupt_field,) * 5, _corrupt_size, _corrupt_size, *_MUTATIONS))
    node = _choose_node(root, nesting, rng)
    mutation(root, node, nesting, rng)
    step = f"{mutation.__name__.strip('_')} {_format_kind(node.kind)}"
    return b"".join(map(nesting.write, root.children)), step


def _choose_node(root: Node, nesting: ContainerFormat, rng: Random) -> Node:
    nodes = [node for child in root.children for node in child.walk()]
    weights = [4 if node.kind in nesting.demuxer_fields else 1 for node in nodes]
    return rng.choices(nodes, weights)[0]


def _corrupt_field(_: Node, node: Node, nesting: ContainerFormat, rng: Random) -> None:
    for _repeat in range(rng.choice((1, 1, 1, 2, 4))):
        node.body = overwrite_number(node.body, rng, within=64 if rng.random() < 0.7 else None)


def _corrupt_size(_: Node, node: Node, nesting: ContainerFormat, rng: Random) -> None:
    node.size = nesting.make_wrong_size(rng, len(nesting.write(node)))


def _rename(_: Node, node: Node, nesting: ContainerFormat, rng: Random) -> None:
    known = rng.random() < 0.8
    node.kind = rng.choice(nesting.kinds) if known else rng.randbytes(len(node.kind))


def _damage_body(_: Node, node: Node, nesting: ContainerFormat, rng: Random) -> None:
    node.body = damage(node.body, rng)[0]


def _empty(_: Node, node: Node, nesting: ContainerFormat, rng: Random) -> None:
    node.body, node.children = b"", []


def _remove(root: Node, node: Node, nesting: ContainerFormat, rng: Random) -> None:
    _siblings(root, node).remove(node)


def _duplicate(root: Node, node: Node, nesting: ContainerFormat, rng: Random) -> None:
    siblings = _siblings(root, node)
    copies = rng.choice((1, 1, 2, MAX_COPIES))
    place = rng.randrange(len(siblings) + 1)
    siblings[place:place] = [copy.deepcopy(node) for _ in range(copies)]


def _reorder(root: Node, node: Node, nesting: ContainerFormat, rng: Random) -> None:
    rng.shuffle(_siblings(root, node))


def _move(root: Node, node: Node, nesting: ContainerFormat, rng: Random) -> None:
    inside = {id(each) for each in node.walk()}
    parents = [each for each in root.walk() if id(each) not in inside]
    _siblings(root, node).remove(node)
    siblings = rng.choice(parents).children
    siblings.insert(rng.randrange(len(siblings) + 1), node)


def _nest(root: Node, node: Node, nesting: ContainerFormat, rng: Random) -> None:
    """Wrap the node in nodes of its own kind or of others."""
    siblings = _siblings(root, node)
    place = siblings.index(node)
    for _ in range(rng.choice((1, 2, MAX_NESTING_DEPTH))):
        kind = node.kind if rng.random() < 0.5 else rng.choice(nesting.kinds)
        siblings[place] = Node(kind=kind, form=node.form, children=[siblings[place]])


def _graft(root: Node, node: Node, nesting: ContainerFormat, rng: Random) -> None:
    """Replace the node's content by another node's."""
    other = rng.choice(list(root.walk()))
    if other is not node:
        node.body, node.children = other.body, copy.deepcopy(other.children)


_MUTATIONS: Final = (
    *(_rename, _damage_body, _empty, _remove, _duplicate),
    *(_reorder, _move, _nest, _graft),
)


def _siblings(root: Node, node: Node) -> list[Node]:
    return next(parent.children for parent in root.walk() if node in parent.children)


def _format_kind(kind: bytes) -> str:
    return kind.decode("ascii") if kind.isalnum() else kind.hex()
