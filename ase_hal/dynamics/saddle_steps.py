"""The steps of a saddle search, each of which stops where it leaves what the model knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.mep import NEB, DimerControl, MinModeAtoms, MinModeTranslate
from ase.mep.neb import idpp_interpolate
from ase.optimize import BFGS, FIRE

from ase_hal.committee import Committee
from ase_hal.dynamics.evolution_explorer import Pick
from ase_hal.dynamics.sanity import StructureRefused, movable, refusals_named
from ase_hal.prediction import Array

_SPRING = 0.1  # eV/Å^2, of the band
_ROUGH = 0.2  # eV/Å: the band is this well relaxed before an image climbs


class Stopped(Exception):
    """A step of the search that ended before its goal.

    Attributes
    ----------
    atoms : Atoms
        Where it ended: the last structure that is sane.
    uncertain : bool
        Whether it ended because the committee knows too little there.
    """

    def __init__(self, reason: str, atoms: Atoms, uncertain: bool = False) -> None:
        super().__init__(reason)
        self.atoms = atoms.copy()
        self.uncertain = uncertain


@dataclass(frozen=True)
class Leash:
    """How far a search may go on a model: to the first insane or too uncertain structure."""

    committee: Committee
    pick: Pick
    max_std: float

    def hold(self, progress: Iterable[object], images: Sequence[Atoms]) -> Iterator[None]:
        """Go through the steps of a search and raise `Stopped` at the end of the leash."""
        sane = [image.copy() for image in images]
        try:
            with refusals_named():
                for _ in progress:
                    for number, image in enumerate(images):
                        sane[number] = self.check(image, sane[number])
                    yield
        except StructureRefused as error:
            raise Stopped(str(error), sane[len(sane) // 2]) from error

    def check(self, atoms: Atoms, last: Atoms) -> Atoms:
        """A copy of the structure; raises `Stopped` where it is insane or too uncertain."""
        prediction = self.committee.predict(atoms)
        distrust = self.pick.distrust(atoms, prediction)
        if distrust is not None:
            raise Stopped(distrust, last)
        if prediction.model_std > self.max_std:
            raise Stopped(f"sigma is {prediction.model_std:.3g} eV", atoms, uncertain=True)
        return atoms.copy()


def relax(atoms: Atoms, leash: Leash, *, fmax: float, steps: int) -> None:
    """Relax in place, or raise `Stopped`."""
    with BFGS(atoms, logfile=None, maxstep=0.1) as optimizer:
        for _ in leash.hold(optimizer.irun(fmax=fmax, steps=steps), [atoms]):
            pass
    if _largest(atoms.get_forces()) > fmax:
        raise Stopped(f"not relaxed in {steps} steps", atoms)


def idpp(start: Atoms, end: Atoms, n_images: int) -> list[Atoms]:
    """n images between two structures and those two, n + 2 in all."""
    images = [start.copy() for _ in range(n_images + 1)] + [end.copy()]
    band = NEB(images, method="improvedtangent")
    band.interpolate(apply_constraint=False)
    idpp_interpolate(band, traj=None, log=None, mic=bool(start.pbc.any()))
    return images


def climb_by_dimer(
    atoms: Atoms, images: Sequence[Atoms], leash: Leash, *, fmax: float, steps: int, seed: int
) -> None:
    """Move atoms from the middle of a path to a saddle between its ends, or raise `Stopped`."""
    middle = len(images) // 2
    tangent = images[min(middle + 1, len(images) - 1)].positions - images[middle - 1].positions
    tangent = movable(tangent, atoms)
    control = DimerControl(logfile=None, max_num_rot=3, dimer_separation=0.01)
    mode = tangent / np.linalg.norm(tangent)
    dimer = MinModeAtoms(atoms, control, eigenmodes=[mode], random_seed=seed)
    with MinModeTranslate(dimer, logfile=None) as climber:
        for _ in leash.hold(climber.irun(fmax=fmax, steps=steps), [atoms]):
            if _largest(atoms.get_forces()) <= fmax and dimer.get_curvature() < 0:
                break
    _require_saddle(atoms, images, fmax, dimer.get_curvature(), steps)


def _require_saddle(
    atoms: Atoms, images: Sequence[Atoms], fmax: float, curvature: float, steps: int
) -> None:
    """Raise `Stopped` unless this is a saddle, and one between the ends of the path."""
    if _largest(atoms.get_forces()) > fmax or not curvature < 0:
        raise Stopped(f"no saddle in {steps} steps", atoms)
    ends = images[0], images[-1]
    length = np.linalg.norm(ends[1].positions - ends[0].positions)
    away = [float(np.linalg.norm(atoms.positions - end.positions)) for end in ends]
    energy = atoms.get_potential_energy()
    if max(away) > 1.2 * length or energy <= max(end.get_potential_energy() for end in ends):
        raise Stopped("the saddle is not between the end points", atoms)


def climb_by_neb(images: Sequence[Atoms], leash: Leash, *, fmax: float, steps: int) -> Atoms:
    """Relax a band in place, then let its highest image climb; that one, or raise `Stopped`."""
    inner = images[1:-1]
    for climb, force in ((False, max(_ROUGH, fmax)), (True, fmax)):
        band = NEB(list(images), k=_SPRING, climb=climb, method="improvedtangent")
        with FIRE(band, logfile=None) as optimizer:
            converged = False
            for _ in leash.hold(optimizer.irun(fmax=force, steps=steps), inner):
                converged = _largest(band.get_forces()) <= force
        if climb and not converged:
            raise Stopped(f"the band does not converge in {steps} steps", _highest(inner))
    saddle = _highest(inner)
    if saddle.get_potential_energy() <= max(images[i].get_potential_energy() for i in (0, -1)):
        raise Stopped("there is no barrier between the end points", saddle)
    return saddle


def _highest(images: Sequence[Atoms]) -> Atoms:
    return max(images, key=lambda image: image.get_potential_energy())


def _largest(forces: Array) -> float:
    return float(np.linalg.norm(forces, axis=1).max())
