"""The shape of one chat, without its texts: who follows whom, and which way was last seen. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from uuid import UUID


class Tree:
    """Made of (id, parent, chosen child) of all messages of a chat, oldest first."""

    def __init__(self, messages: Iterable[tuple[UUID, UUID | None, UUID | None]]) -> None:
        self._children: dict[UUID | None, list[UUID]] = defaultdict(list)
        self._chosen: dict[UUID, UUID | None] = {}
        for pk, parent, chosen in messages:
            self._children[parent].append(pk)
            self._chosen[pk] = chosen

    def __contains__(self, pk: UUID) -> bool:
        return pk in self._chosen

    def children_of(self, pk: UUID | None) -> list[UUID]:
        """Oldest first; those of None are the beginnings of the chat."""
        return self._children.get(pk, [])

    def branch(self, top: UUID) -> list[UUID]:
        """`top` and all below it."""
        found = [top]
        for pk in found:
            found += self.children_of(pk)
        return found

    def leaf_below(self, top: UUID) -> UUID:
        """Where one arrives from `top` by the children last seen, or else the newest."""
        while below := self.children_of(top):
            top = self._chosen[top] or below[-1]
        return top
