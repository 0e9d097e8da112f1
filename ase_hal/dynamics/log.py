"""The table that a HAL dynamics writes while it runs."""

from __future__ import annotations

from typing import IO, Any

from ase.parallel import world
from ase.utils import IOContext

from ase_hal.dynamics.trace import COLUMNS

# trace column: (heading, width, format)
_FORMATS = {
    "step": ("Step", 8, "d"),
    "time_fs": ("Time[fs]", 11, ".1f"),
    "temperature_K": ("T[K]", 9, ".1f"),
    "pressure_GPa": ("P[GPa]", 10, ".3f"),
    "tau": ("tau", 10, ".4f"),
    "energy": ("Emean[eV]", 15, ".5f"),
    "energy_std": ("sigma[eV]", 12, ".5f"),
    "score": ("score", 9, ".4f"),
}


class HALLogger(IOContext):
    """Writes rows of a `Trace` under a heading; ``nan`` where there is no value.

    Parameters
    ----------
    logfile : str or file
        Opened for appending; '-' is standard output.
    comm : communicator
        Only its first rank writes.
    """

    def __init__(self, logfile: IO[str] | str, comm: Any = world) -> None:
        self._file = self.openfile(file=logfile, mode="a", comm=comm)
        self._headed = False

    def write(self, row: tuple[float, ...]) -> None:
        """Write one row, in the order of the columns of a `Trace`."""
        if not self._headed:
            headings = (f"{heading:>{width}}" for heading, width, _ in _FORMATS.values())
            self._file.write("".join(headings) + "\n")
            self._headed = True
        cells = []
        for name, value in zip(COLUMNS, row, strict=True):
            _, width, form = _FORMATS[name]
            cells.append(f"{value:{width}{form}}")
        self._file.write("".join(cells) + "\n")
        self._file.flush()

    def __del__(self) -> None:
        self.close()
