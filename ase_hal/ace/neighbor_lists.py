"""Neighbour lists of many structures, for any number of threads."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from threading import Lock

from ase import Atoms

from ase_hal.ace.kernels.layout import List
from ase_hal.ace.neighbors import Float, NeighborList
from ase_hal.identity import IdentityMap

_MOST_BYTES = 2**26  # of the pairs that are kept for structures which may be asked about again


class NeighborLists:
    """A `NeighborList` for each Atoms object, as long as that exists.

    What is summed over a list with a skin depends in the last digits on where the list was built.
    As each object has its own, its results depend on where it has been itself, and on nothing
    else: not on other structures in between, nor on the thread that asks. Any number of threads
    may ask at once.

    Parameters
    ----------
    elements, cutoff, skin
        As for `NeighborList`.
    """

    def __init__(self, elements: tuple[str, ...], cutoff: float, skin: float) -> None:
        self._example = NeighborList(elements, cutoff, skin)  # checks them, holds no pairs
        self.elements = elements
        self.cutoff = cutoff
        self.skin = skin
        self._lists: IdentityMap[Atoms, NeighborList] = IdentityMap()
        self._lock = Lock()
        # those with pairs and the memory they take, the latest last
        self._recent: OrderedDict[int, tuple[weakref.ref[NeighborList], int]] = OrderedDict()
        self._latest: tuple[weakref.ref[Atoms], NeighborList] = weakref.ref(Atoms()), self._example
        self._bytes = 0

    @property
    def builds(self) -> int:
        """How often the lists of all objects that still exist were built."""
        return sum(neighbors.builds for neighbors in self._lists.values())

    def update(self, atoms: Atoms) -> tuple[List, Float, Float]:
        """List, positions and translations; see `NeighborList.update`."""
        owner, neighbors = self._latest
        if owner() is atoms:
            return neighbors.update(atoms)
        known = self._lists.get(atoms)
        if known is None:
            fresh = NeighborList(self.elements, self.cutoff, self.skin, like=self._example)
            known = self._lists.setdefault(atoms, fresh)
        found = known.update(atoms)
        self._keep(atoms, known)
        return found

    def _keep(self, atoms: Atoms, neighbors: NeighborList) -> None:
        """Count the list as used last, and release those not used for longest."""
        reference, number = weakref.ref(neighbors), id(neighbors)
        with self._lock:
            self._latest = weakref.ref(atoms), neighbors
            _, before = self._recent.pop(number, (None, 0))
            now = neighbors.nbytes
            self._recent[number] = reference, now
            self._example.learn(neighbors)
            self._bytes += now - before
            while self._bytes > _MOST_BYTES and len(self._recent) > 1:
                _, (oldest, size) = self._recent.popitem(last=False)
                self._bytes -= size
                released = oldest()
                if released is not None:
                    released.release()
