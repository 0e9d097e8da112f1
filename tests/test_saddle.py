"""SaddleSearch: known barriers, the way back when a method fails, budgets, and refusals."""

import functools

import numpy as np
import pytest
from analytic import HarmonicCrystal
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from ase_hal import LinearFit, learn
from ase_hal.ace import ACEBasis, PairPart
from ase_hal.calculator_committee import CalculatorCommittee
from ase_hal.calculators import CommitteeCalculator
from ase_hal.dynamics import Pick, SaddleSearch, count_saddles, saddle, saddle_kind
from ase_hal.dynamics.saddle_steps import Leash, Stopped, climb_by_neb, idpp, relax
from ase_hal.exploration import ExplorationEnded
from ase_hal.held_out import HoldOut
from ase_hal.prediction import Prediction
from ase_hal.reference import Failure

CU_HOP = 0.7614  # eV, a vacancy in Cu with EMT in 32 sites
AU_HOP = 0.374  # eV, Au on Al(100) with EMT between hollow sites, through the bridge (ASE's docs)


class DoubleWell:
    """Atom 0 in the wells at x = 3 -+ 1: barrier h, a saddle at x = 3; members differ in h."""

    elements = ("H",)
    spread = 0.01

    def __init__(self, height=0.5, spread=0.01):
        self.height, self.spread = height, spread

    def predict(self, atoms, members=False, stress=False):
        x, *yz = atoms.positions[0] - 3
        shape = (x**2 - 1) ** 2
        slope = np.array([4 * x * (x**2 - 1), 0, 0])
        forces, gradient = np.zeros((2, len(atoms), 3))
        forces[0] = -self.height * slope - np.array([0, *yz]) * 4
        gradient[0] = self.spread * slope
        energy = self.height * shape + 2 * np.dot(yz, yz)
        sigma = self.spread * shape
        return Prediction(
            energy=energy, forces=forces, energy_std=sigma, energy_std_gradient=gradient,
            model_std=sigma, force_scale=1.0,
            member_energies=energy + sigma * np.array([-1.0, 1.0]),
        )  # fmt: skip


def moved_wells(predict, shift, atoms, members=False, stress=False):
    atoms = atoms.copy()
    atoms.positions[:, 0] -= shift
    return predict(atoms, members, stress)


def wells(offset=0.9):
    return tuple(Atoms("H", [[3 + x, 3.1, 3]], cell=[6] * 3, pbc=True) for x in (-offset, offset))


def gold_hop():
    slab = fcc100("Al", (2, 2, 3))
    add_adsorbate(slab, "Au", 1.7, "hollow")
    slab.center(axis=2, vacuum=4.0)
    slab.set_constraint(FixAtoms([atom.index for atom in slab if atom.tag > 1]))
    final = slab.copy()
    final[-1].x += slab.cell[0, 0] / 2
    return slab, final


def vacancy_hop():
    crystal = bulk("Cu", cubic=True) * 2
    initial, final = crystal.copy(), crystal.copy()
    neighbour = int(np.argsort(crystal.get_distances(0, range(32), mic=True))[1])
    final.positions[neighbour] = crystal.positions[0]
    del initial[0], final[0]
    return initial, final


def emt():
    return CalculatorCommittee([EMT(), EMT()])


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.mark.parametrize(("hop", "barrier"), [(gold_hop, AU_HOP), (vacancy_hop, CU_HOP)])
def test_barriers_of_emt(hop, barrier, rng):
    path = SaddleSearch(*hop()).search(emt(), rng=rng)
    assert path.outcome == "dimer"
    assert path.barrier == pytest.approx(barrier, abs=2e-3)
    path.saddle.calc = EMT()
    assert np.linalg.norm(path.saddle.get_forces(), axis=1).max() <= 0.03
    held = [i for c in path.start.constraints for i in c.index]
    for atoms in (path.saddle, path.end):
        assert np.array_equal(atoms.positions[held], path.start.positions[held])


def test_the_band_takes_over(monkeypatch, rng):
    """With a dimer that ends in failure; the same barrier, and it says why."""

    def fails(atoms, images, leash, **keywords):
        raise Stopped("no saddle today", atoms)

    monkeypatch.setattr(saddle, "climb_by_dimer", fails)
    path = SaddleSearch(*gold_hop(), n_images=3, fmax=0.05).search(emt(), rng=rng)
    assert path.outcome == "neb"
    assert path.reason == "dimer: no saddle today"
    assert path.barrier == pytest.approx(AU_HOP, abs=5e-3)


def test_an_even_number_of_images_needs_the_climb(rng):
    """No image is on the saddle before one climbs."""
    images = idpp(*wells(1.0), 4)
    for image in images:
        image.positions[:, 1] = 3
        image.calc = CommitteeCalculator(DoubleWell())
    found = climb_by_neb(images, Leash(DoubleWell(), Pick(), 1.0), fmax=0.005, steps=500)
    assert found.positions[0] == pytest.approx([3, 3, 3], abs=0.01)
    assert found.get_potential_energy() == pytest.approx(0.5, abs=1e-4)


def test_the_double_well(rng):
    path = SaddleSearch(*wells()).search(DoubleWell(), rng=rng)
    assert path.outcome == "dimer"
    assert path.start.positions[0] == pytest.approx([2, 3, 3], abs=0.02)
    assert path.end.positions[0] == pytest.approx([4, 3, 3], abs=0.02)
    assert path.saddle.positions[0] == pytest.approx([3, 3, 3], abs=0.02)
    assert path.barrier == pytest.approx(0.5, abs=1e-3)


def test_hops_across_the_boundary(rng):
    """The final structure is given with the atom wrapped to the other side of the cell."""
    initial, final = wells()
    wrapped = final.copy()
    wrapped.positions[0, 0] -= 6
    path = SaddleSearch(initial, wrapped).search(DoubleWell(), rng=rng)
    assert path.barrier == pytest.approx(0.5, abs=1e-3)


class TestExplorer:
    def test_roles_and_provenance(self, rng):
        initial, final = wells()
        before = initial.positions.copy()
        found = SaddleSearch(initial, final, name="hop 7")(DoubleWell(), dataset=[], rng=rng)
        assert [a.info["hal_role"] for a in found] == ["saddle", "start", "end"]
        for atoms in found:
            assert atoms.info["hal_scheme"] == "saddle"
            assert atoms.info["hal_path"] == "hop 7"
            assert atoms.info["hal_outcome"] == "dimer"
            assert atoms.calc is None
        assert np.array_equal(initial.positions, before)

    def test_what_is_known_or_certain_is_not_asked_again(self, rng):
        search = SaddleSearch(*wells())
        found = search(DoubleWell(), dataset=[], rng=rng)
        assert search(DoubleWell(), dataset=found, rng=rng) == []
        assert len(search(DoubleWell(), dataset=found[1:], rng=rng)) == 1
        sure = SaddleSearch(*wells(), pick=Pick(min_std=0.005))
        assert [a.info["hal_role"] for a in sure(DoubleWell(), dataset=[], rng=rng)] == ["saddle"]

    def test_the_budget(self, rng):
        search = SaddleSearch(*wells(), max_labels=2, name="a")
        first = search(DoubleWell(), dataset=[], rng=rng)
        assert [a.info["hal_role"] for a in first] == ["saddle", "start"]
        for again in (search, SaddleSearch(*wells(), max_labels=2, name="a")):
            with pytest.raises(ExplorationEnded, match="labels"):
                again(DoubleWell(), dataset=first, rng=rng)
        with pytest.raises(ExplorationEnded, match="labels"):
            search(DoubleWell(), dataset=[], rng=rng)  # both labels failed
        with pytest.raises(ExplorationEnded, match="labels"):
            SaddleSearch(*wells(), max_labels=2, name="a")(
                DoubleWell(), dataset=first[1:], rng=rng
            )  # the first one failed, as the number of the second says
        others = [a.copy() for a in first]
        for atoms in others:
            atoms.info["hal_path"] = "b"
            atoms.positions += 0.3
        fresh = SaddleSearch(*wells(), max_labels=2, name="a")
        assert len(fresh(DoubleWell(), dataset=others, rng=rng)) == 2

    @pytest.mark.parametrize("kind", ["failing", "held out"])
    def test_the_budget_is_of_calls_not_of_labels(self, rng, kind):
        """A model that learns nothing asks until the budget is spent, and no further."""
        calls = []

        def label(structures, reference, *, on_failure):
            done = []
            for atoms in structures:
                if atoms.info["hal_iteration"] > 0:
                    calls.append(atoms)
                    if kind == "failing" and len(calls) % 2 == 0:
                        on_failure(Failure(atoms, "every second one fails", 0.0))
                        continue
                atoms = atoms.copy()
                atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((1, 3)))
                done.append(atoms)
            return done

        def fit(dataset, *, rng):
            """Wells that move, so that nothing is known already."""
            well = DoubleWell(spread=0.1)
            well.predict = functools.partial(moved_wells, well.predict, rng.uniform(-0.1, 0.1))
            return well

        if kind == "held out":
            label = HoldOut(0.5, rng=np.random.default_rng(0), label=label)
        search = SaddleSearch(*wells(), max_labels=7)
        *_, last = learn(wells()[:1], fit, search, None, rng=rng, label=label)
        assert last.finished == "labels"
        assert len(calls) == 7
        assert len(last.dataset) < 1 + 7

    def test_it_stops_where_the_model_knows_too_little(self, rng):
        path = SaddleSearch(*wells(), max_std=0.2).search(DoubleWell(spread=1.0), rng=rng)
        assert path.outcome == "uncertain"
        assert "sigma" in path.reason
        assert np.isnan(path.barrier)
        found = SaddleSearch(*wells(), max_std=0.2)(DoubleWell(spread=1.0), dataset=[], rng=rng)
        assert {a.info["hal_outcome"] for a in found} == {"uncertain"}

    def test_end_points_that_fall_into_one(self, rng):
        atoms = bulk("Al", a=4.0, cubic=True)
        committee = HarmonicCrystal.around(atoms, noise=0.01)
        moved = atoms.copy()
        moved.positions[0, 0] += 0.3
        path = SaddleSearch(atoms, moved).search(committee, rng=rng)
        assert path.outcome == "merged"
        assert path.saddle is not None

    def test_a_relaxation_that_fails_is_handed_over(self, rng):
        path = SaddleSearch(*wells(0.5), steps=1).search(DoubleWell(), rng=rng)
        assert path.outcome == "relaxation"
        assert "not relaxed in 1 steps" in path.reason
        found = SaddleSearch(*wells(0.5), steps=1)(DoubleWell(), dataset=[], rng=rng)
        assert [a.info["hal_role"] for a in found] == ["start", "end"]

    def test_sanity_holds_on_the_way(self):
        atoms, _ = wells(0.3)
        atoms.calc = CommitteeCalculator(DoubleWell(height=20.0))
        leash = Leash(DoubleWell(height=20.0), Pick(max_force=5.0), 1.0)
        with pytest.raises(Stopped, match="force of"):
            relax(atoms, leash, fmax=0.01, steps=50)


@functools.cache
def al_au_basis():
    return ACEBasis(
        ("Al", "Au"), rcut=5.5, nradmax_by_orders=[8, 4, 2], lmax_by_orders=[0, 3, 2],
        pair=PairPart(rcut=6.0, nradmax=8),
    )  # fmt: skip


@functools.cache
def cu_basis():
    return ACEBasis(
        ("Cu",), rcut=5.5, nradmax_by_orders=[8, 4, 2], lmax_by_orders=[0, 3, 2],
        pair=PairPart(rcut=6.0, nradmax=8),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("hop", "basis", "barrier"),
    [(gold_hop, al_au_basis, AU_HOP), (vacancy_hop, cu_basis, CU_HOP)],
    ids=["gold", "vacancy"],
)
def test_a_barrier_is_learned_in_few_reference_calls(hop, basis, barrier, seed):
    """Within 10 meV in at most 20 calls, the end points included."""
    rng = np.random.default_rng(seed)
    seeds = hop()
    for atoms in seeds:
        atoms.rattle(0.1, rng=rng)
    search = SaddleSearch(*seeds, max_labels=18, max_std=0.3)
    *_, last = learn(seeds, LinearFit(basis()), search, EMT, rng=rng)
    assert last.finished in ("converged", "labels")
    assert len(last.dataset) <= 20
    path = search.search(last.committee, rng=rng)
    assert path.barrier == pytest.approx(barrier, abs=0.01)
    saddles = [a for a in last.dataset if a.info.get("hal_role") == "saddle"]
    assert saddle_kind(saddles[-1]) == "proximal"


def saddle_labelled(force, atoms=None, **info):
    atoms = atoms or Atoms("H2", [[0, 0, 0], [0, 0, 1]])
    forces = [[0, 0, force], [0, 0, 0]]
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=forces)
    atoms.info |= info
    return atoms


def test_kinds_of_saddles():
    for force, kind in [(1.9, "proximal"), (2.1, "artifactual")]:
        atoms = saddle_labelled(force)
        assert saddle_kind(atoms) == kind
    assert saddle_kind(atoms, max_force=3.0) == "proximal"
    atoms.set_constraint(FixAtoms([0]))  # labels know nothing of constraints
    assert saddle_kind(atoms) == "proximal"
    atoms.set_constraint(FixAtoms([1]))
    assert saddle_kind(atoms) == "artifactual"
    with pytest.raises(ValueError, match="no force labels"):
        saddle_kind(bulk("Al"))
    with pytest.raises(ValueError, match="the role 'saddle' and the outcome 'uncertain'"):
        saddle_kind(saddle_labelled(0.1, hal_role="saddle", hal_outcome="uncertain"))
    with pytest.raises(ValueError, match="the role 'end' and the outcome 'dimer'"):
        saddle_kind(saddle_labelled(0.1, hal_role="end", hal_outcome="dimer"))


def test_kinds_are_counted_by_path():
    rows = [
        ("a", "saddle", "dimer", 0.1), ("a", "saddle", "neb", 3.0), ("a", "start", "neb", 0.1),
        ("a", "saddle", "uncertain", 0.1), ("b", "saddle", "failed", 0.1),
        ("c", "saddle", "neb", 1.0),
    ]  # fmt: skip
    dataset = [
        saddle_labelled(force, hal_path=path, hal_role=role, hal_outcome=outcome)
        for path, role, outcome, force in rows
    ]
    assert count_saddles([*dataset, saddle_labelled(0.1)]) == {
        "a": {"proximal": 1, "artifactual": 1},
        "b": {"proximal": 0, "artifactual": 0},
        "c": {"proximal": 1, "artifactual": 0},
    }
    assert count_saddles(dataset, max_force=5.0)["a"] == {"proximal": 2, "artifactual": 0}


class TestErrors:
    def test_identical_end_points(self):
        atoms, _ = wells()
        with pytest.raises(ValueError, match="same structure: no atom moves by more than 0.1 Å"):
            SaddleSearch(atoms, atoms.copy())
        image = atoms.copy()
        image.positions += atoms.cell[0]
        with pytest.raises(ValueError, match="same structure"):
            SaddleSearch(atoms, image)

    def test_other_atoms_or_cells(self):
        atoms, final = wells()
        with pytest.raises(ValueError, match="same atoms in the same order, got H and H2"):
            SaddleSearch(atoms, final + final)
        final.set_cell([7] * 3)
        with pytest.raises(ValueError, match="same cell"):
            SaddleSearch(atoms, final)

    @pytest.mark.parametrize(
        "wrong", [{"n_images": 0}, {"fmax": 0.0}, {"max_std": 0.0}, {"max_labels": -1}]
    )
    def test_arguments(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SaddleSearch(*wells(), **wrong)
