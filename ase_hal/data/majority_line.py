r"""A line through most of some labels, against predictions whose errors are correlated.

Labels y of structures are compared with predictions x of a linear model,

.. math:: y = k x + Z b + e, \qquad \mathrm{cov}(e) = s^2 (1 + t \, U U^T),

with free constants b and with errors of the model's coefficients, which U carries from their
posterior: without them a soft direction of the model would pass for a contradiction. The ratio t
is the one of largest restricted likelihood.

Some structures may have labels of another kind. The line is therefore sought through half of them
first, from random small sets as in least trimmed squares, and then takes in all others that it
describes. Each structure is judged by what the line through the others predicts for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ase_hal.prediction import Array

Mask = NDArray[np.bool_]
Ints = NDArray[np.intp]

_RATIOS = np.concatenate([[0.0], np.logspace(-3, 8, 12)])  # t, with U U^T scaled to mean 1
# Random sets are tried until one without a wrong structure is certain, but not more than so many.
_WRONG, _MISSED, _MOST_STARTS = 0.3, 1e-3, 100
_CONCENTRATIONS = 3  # steps from a random set towards the half that fits it best
_GROWTHS = 12
FAR = 6.0  # standard deviations at which a structure is not described
_MOST_NUMBERS = (130, 360)  # for the search from random sets, and for the line
_CHUNK = 600  # numbers judged at a time
_TINY = 1e-300


class Comparison(NamedTuple):
    """Labels and predictions of n structures, d numbers each.

    Attributes
    ----------
    predicted : (n, d) array
        x.
    labels : (n, d) array
        y.
    free : (n, d, p) array
        Z.
    uncertain : (n, d, r) array
        U.
    """

    predicted: Array
    labels: Array
    free: Array
    uncertain: Array

    def of(self, members: Ints | Mask | slice) -> Comparison:
        """Some of the structures."""
        return Comparison(*(part[members] for part in self))


class Judgement(NamedTuple):
    """What a line says about n structures.

    Attributes
    ----------
    expected, spread : (n, d) array
        Labels that the line through other structures predicts, and their standard deviations;
        nan where nothing determines them.
    distance : (n,) array
        Root mean square deviation of the labels in standard deviations; nan where unknown.
    """

    expected: Array
    spread: Array
    distance: Array


@dataclass(frozen=True, eq=False)
class Line:
    """What describes most of the labels.

    Attributes
    ----------
    slope, error : float
        k and its standard error; nan where predictions do not vary.
    judgement : Judgement
        Of all structures.
    described : (n,) array of bool
        Structures whose labels are on the line, as far as is known.
    freedom : int
        Numbers it goes through less constants.
    quality : float
        Logarithm of the likelihood by number; larger is better for the same labels.
    """

    slope: float
    error: float
    judgement: Judgement
    described: Mask
    freedom: int
    quality: float


def majority_line(data: Comparison, order: Ints, *, rng: np.random.Generator) -> Line | None:
    """The line through most of the labels; None where there are too few.

    Parameters
    ----------
    data : Comparison
    order : (n,) array of int
        Structures, those first that the line is to go through if it cannot go through all.
    rng : numpy.random.Generator
        Source of the random sets.
    """
    d = data.labels.shape[1]
    columns = data.free.shape[2] + 1
    few, many = (data.of(order[: max(most // d, 1)]) for most in _MOST_NUMBERS)
    half = len(few.labels) // 2 + 1
    if half * d < columns + 2:
        return None
    size = min(-(-(columns + 2) // d) + 1, half)
    starts = [rng.permutation(len(few.labels))[:size] for _ in range(number_of_starts(size))]
    problem = _Problem.of(few)
    fits = [_concentrated(problem, start, half) for start in starts]
    best = max(fits, key=lambda fit: fit.quality)
    problem = _Problem.of(many)
    members = np.isin(np.arange(len(many.labels)), np.flatnonzero(best.members))
    for _ in range(_GROWTHS):
        best = _Fit.of(problem, members)
        distance = best.judge_own().distance
        again = ~(distance > best.far)
        if (again == members).all():
            break
        members = again
    return best.line(data, order[: len(many.labels)])


def number_of_starts(size: int) -> int:
    """Number of random sets of a size among which one without a wrong structure is expected."""
    failing = np.log1p(-((1 - _WRONG) ** size))
    return int(min(np.ceil(np.log(_MISSED) / failing), _MOST_STARTS))


class _Problem(NamedTuple):
    """Scaled columns (n, d, c) of which the first is the prediction, and Gram matrix of U."""

    data: Comparison
    design: Array
    gram: Array
    scales: Array  # of the columns
    share: float  # 1 / mean of the diagonal of U U^T

    @classmethod
    def of(cls, data: Comparison) -> _Problem:
        design = _columns(data)
        scales = np.sqrt((design**2).sum(axis=(0, 1)))
        scales = np.where(scales > 0, scales, 1.0)
        flat = data.uncertain.reshape(-1, data.uncertain.shape[2])
        gram = flat @ flat.T
        share = 1 / max(float(np.trace(gram)) / len(gram), _TINY)
        return cls(data, design / scales, gram * share, scales, share)


def _columns(data: Comparison) -> Array:
    return np.concatenate([data.predicted[..., None], data.free], axis=2)


def _concentrated(problem: _Problem, start: Ints, half: int) -> _Fit:
    """A fit to half of the structures that describes them best, found from a few of them."""
    everyone = np.arange(len(problem.data.labels))
    members = np.isin(everyone, start)
    for _ in range(_CONCENTRATIONS):
        distance = _Fit.of(problem, members).judge_own().distance
        again = np.isin(everyone, np.argsort(distance, kind="stable")[:half])  # nan last
        if (again == members).all():
            break
        members = again
    return _Fit.of(problem, members)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Generalised least squares to the members of a problem.

    ``whitener`` W has W^T W = (1 + t G)^-1 for the Gram matrix G of the members' numbers.
    """

    problem: _Problem
    members: Mask
    ratio: float
    whitener: Array
    solution: Array
    inverse: Array  # (D^T W^T W D)^+
    unknown: Array  # combinations of columns that the members do not determine
    variance: float
    freedom: int
    quality: float

    @classmethod
    def of(cls, problem: _Problem, members: Mask) -> _Fit:
        labels = problem.data.labels
        design = problem.design[members].reshape(-1, problem.design.shape[2])
        rows = np.repeat(members, labels.shape[1])
        values, vectors = np.linalg.eigh(problem.gram[np.ix_(rows, rows)])
        rotated, y = vectors.T @ design, vectors.T @ labels[members].ravel()
        _, sizes, right = np.linalg.svd(rotated, full_matrices=True)
        rank = int(np.sum(sizes > 1e-9 * sizes[0]))
        known, unknown = right[:rank].T, right[rank:].T
        D = rotated @ known
        freedom = max(len(y) - rank, 1)
        weights = 1 / (1 + _RATIOS[:, None] * np.maximum(values, 0.0))  # (ratios, rows)
        normal = np.einsum("ri,tr,rj->tij", D, weights, D, optimize=True)
        inverse = np.linalg.inv(normal)
        solutions = np.einsum("tij,tj->ti", inverse, (weights * y) @ D)
        residuals = y - solutions @ D.T
        variances = np.maximum((weights * residuals**2).sum(axis=1) / freedom, _TINY)
        likelihood = (
            np.log(weights).sum(axis=1) - np.linalg.slogdet(normal)[1] - freedom * np.log(variances)
        ) / (2 * freedom)
        best = int(np.argmax(likelihood))
        return cls(
            problem,
            members,
            float(_RATIOS[best]),
            np.sqrt(weights[best])[:, None] * vectors.T,
            known @ solutions[best],
            known @ inverse[best] @ known.T,
            unknown,
            float(variances[best]),
            freedom,
            float(likelihood[best]),
        )

    @property
    def far(self) -> float:
        """Distance of a structure that is not described; few numbers tell the scatter badly."""
        return FAR * (1 + 4 / self.freedom)

    def _white(self) -> tuple[Array, Array]:
        design = self.problem.design[self.members]
        white = self.whitener @ design.reshape(-1, design.shape[2])
        labels = self.problem.data.labels[self.members].ravel()
        return white, self.whitener @ labels - white @ self.solution

    def judge_own(self) -> Judgement:
        """The structures of the problem, members by what the others say about them."""
        n, d = self.problem.data.labels.shape
        result = Judgement(np.full((n, d), np.nan), np.full((n, d), np.nan), np.full(n, np.nan))
        white, residual = self._white()
        half = self.whitener.T @ white
        projected = self.whitener.T @ self.whitener - half @ self.inverse @ half.T
        pulled = self.whitener.T @ residual
        for k, i in enumerate(np.flatnonzero(self.members)):
            block = slice(k * d, (k + 1) * d)
            values, vectors = np.linalg.eigh(projected[block, block])
            if values[0] > 1e-9 * values[-1]:  # else it alone determines one of the constants
                covariance = (vectors / values) @ vectors.T
                self._put(result, int(i), self.problem.data, covariance @ pulled[block], covariance)
        others = np.flatnonzero(~self.members)
        return self._judge(self.problem.data, others, result)

    def _judge(self, data: Comparison, which: Ints, result: Judgement) -> Judgement:
        """Put what the members say about some other structures into a result."""
        d = data.labels.shape[1]
        white, residual = self._white()
        own = self.problem.data.uncertain[self.members].reshape(-1, data.uncertain.shape[2])
        factor = self.ratio * self.problem.share
        for part in np.array_split(which, -(-len(which) * d // _CHUNK) or 1):
            some = data.of(part)
            design = _columns(some) / self.problem.scales
            flat = some.uncertain.reshape(len(part) * d, some.uncertain.shape[2])
            across = self.whitener @ (own @ flat.T) * factor  # (numbers of members, of others)
            for k, i in enumerate(part):
                block = slice(k * d, (k + 1) * d)
                columns, cross = design[k], across[:, block]
                blind = np.abs(columns @ self.unknown).max(initial=0.0)
                if blind > 1e-6 * np.abs(columns).max():
                    continue
                lift = columns - cross.T @ white
                deviation = some.labels[k] - columns @ self.solution - cross.T @ residual
                covariance = np.eye(d) + factor * flat[block] @ flat[block].T - cross.T @ cross
                covariance += lift @ self.inverse @ lift.T
                self._put(result, i, data, deviation, covariance)
        return result

    def _put(
        self, result: Judgement, i: int, data: Comparison, deviation: Array, covariance: Array
    ) -> None:
        covariance = covariance * self.variance
        result.expected[i] = data.labels[i] - deviation
        result.spread[i] = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        square = float(deviation @ np.linalg.solve(covariance, deviation)) / len(deviation)
        result.distance[i] = np.sqrt(max(square, 0.0))

    def line(self, data: Comparison, own: Ints) -> Line:
        """The result for all structures, of which the problem has some."""
        n, d = data.labels.shape
        judged = Judgement(np.full((n, d), np.nan), np.full((n, d), np.nan), np.full(n, np.nan))
        for whole, part in zip(judged, self.judge_own(), strict=True):
            whole[own] = part
        self._judge(data, np.setdiff1d(np.arange(n), own), judged)
        slope, error = self._slope()
        described = ~(judged.distance > self.far)
        return Line(slope, error, judged, described, self.freedom, self.quality)

    def _slope(self) -> tuple[float, float]:
        white, _ = self._white()
        constants, sizes, _ = np.linalg.svd(white[:, 1:], full_matrices=False)
        constants = constants[:, sizes > 1e-9 * sizes.max(initial=0.0)]
        x = white[:, 0] - constants @ (constants.T @ white[:, 0])
        if x @ x < 1e-18 * (white[:, 0] @ white[:, 0]):
            return np.nan, np.inf
        y = self.whitener @ self.problem.data.labels[self.members].ravel()
        scale = float(self.problem.scales[0])
        return float(x @ y / (x @ x)) / scale, float(np.sqrt(self.variance / (x @ x))) / scale
