"""Committee files of any kind."""

from __future__ import annotations

from pathlib import Path

from ase_hal.calculator_committee import CalculatorCommittee
from ase_hal.committee_file import format_of
from ase_hal.linear_committee import LinearCommittee
from ase_hal.network_committee import NetworkCommittee

_KINDS = {
    kind.file_format: kind for kind in (LinearCommittee, NetworkCommittee, CalculatorCommittee)
}


def read_committee(path: str | Path) -> LinearCommittee | NetworkCommittee | CalculatorCommittee:
    """Read a committee from a file, whichever kind its ``write`` was.

    Parameters
    ----------
    path : path
        Ends in ``.json``; the ``.npz`` of the same name lies beside it.

    Raises
    ------
    ValueError
        If it is no committee file of this package, one of a version that is not known, or damaged.

    Examples
    --------
    >>> committee = read_committee("model.json")
    """
    found = format_of(path)
    if found not in _KINDS:
        raise ValueError(f"{path} is an {found}, not an {', '.join(_KINDS)}")
    return _KINDS[found].read(path)
