"""IdentityMap: values that belong to objects, which are told apart by identity."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class IdentityMap(Generic[K, V]):
    """What is known of objects, for as long as they exist.

    Unlike a `weakref.WeakKeyDictionary` it takes objects that cannot be hashed, such as Atoms,
    and never takes one for another that is equal. Any number of threads may use it at once.
    """

    def __init__(self) -> None:
        # No lock: each step is one operation of a dict, and an object's number is not given away
        # before the callback of its weak reference has run.
        self._entries: dict[int, tuple[weakref.ref[K], V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, owner: K) -> V | None:
        """Value of an object, None where it has none."""
        entry = self._entries.get(id(owner))
        return entry[1] if entry is not None and entry[0]() is owner else None

    def setdefault(self, owner: K, value: V) -> V:
        """Value of an object; where it has none it gets this one.

        Raises
        ------
        TypeError
            For an object that cannot be referred to weakly.
        """
        number = id(owner)
        entry = (weakref.ref(owner, self._forgetting(number)), value)
        kept = self._entries.setdefault(number, entry)
        if kept[0]() is not owner:
            self._entries[number] = kept = entry
        return kept[1]

    def values(self) -> list[V]:
        """Values of all objects that still exist."""
        return [value for _, value in list(self._entries.values())]

    def _forgetting(self, number: int) -> _Forgetting[K]:
        return _Forgetting(weakref.ref(self), number)


class _Forgetting(Generic[K]):
    """Callback that takes a value out; it keeps neither the map nor the value alive."""

    __slots__ = ("_map", "_number")

    def __init__(self, owner: weakref.ref[IdentityMap[K, V]], number: int) -> None:
        self._map: weakref.ref[IdentityMap[K, V]] = owner
        self._number = number

    def __call__(self, reference: weakref.ref[K]) -> None:
        found = self._map()
        if found is None:
            return
        entry = found._entries.get(self._number)
        if entry is not None and entry[0] is reference:
            found._entries.pop(self._number, None)
