"""EvaluatorPool: evaluators of one basis for any number of threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ase_hal.ace.evaluator import ThreadEvaluator, compile_parts, neighbor_lists
from ase_hal.ace.part import CompiledTables
from ase_hal.ace.tables import FunctionTables


class EvaluatorPool:
    """Evaluators that threads borrow and give back.

    All share what is compiled and the neighbour lists, so that it does not matter which one is
    borrowed; each has buffers of its own. There are as many as were borrowed at the same time: in
    one thread always the same.

    Parameters
    ----------
    parts, skin
        As for `Evaluator`.

    Attributes
    ----------
    neighbors : NeighborLists
        One for each Atoms object.

    Examples
    --------
    >>> pool = basis.evaluators()
    >>> with pool.borrowed() as evaluator:
    ...     B = evaluator.descriptors(atoms)
    ...     forces, virial = evaluator.forces(coefficients)
    """

    def __init__(
        self, parts: Sequence[FunctionTables | CompiledTables], *, skin: float = 0.5
    ) -> None:
        self._compiled = compile_parts(parts)
        self.neighbors = neighbor_lists(self._compiled, skin)
        # last in, first out; taking and giving are single operations, which need no lock
        self._idle: deque[ThreadEvaluator] = deque()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (tuple(part.tables for part in self._compiled), self.neighbors.skin)

    def take(self) -> ThreadEvaluator:
        """An evaluator that no one else uses until it is given back."""
        try:
            return self._idle.pop()
        except IndexError:
            return ThreadEvaluator(self._compiled, self.neighbors)

    def give(self, evaluator: ThreadEvaluator) -> None:
        """Give back what was taken."""
        self._idle.append(evaluator)

    @contextmanager
    def borrowed(self) -> Iterator[ThreadEvaluator]:
        """Take an evaluator, and give it back at the end of the block."""
        evaluator = self.take()
        try:
            yield evaluator
        finally:
            self.give(evaluator)


def _rebuild(parts: tuple[FunctionTables, ...], skin: float) -> EvaluatorPool:
    return EvaluatorPool(parts, skin=skin)
