"""Imports point only downwards: the layers of the package, enforced."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ase_hal"

LAYERS = {
    "prediction": 0,
    "compiled": 0,
    "parallel": 0,
    "identity": 0,
    "threads": 0,
    "process_pool": 0,
    "pool_worker": 0,
    "lock_file": 0,
    "randomness": 0,
    "journal": 0,
    "frames": 1,
    "regression": 0,
    "repulsion": 0,
    "repulsion_kernel": 0,
    "ace": 0,
    "data": 1,
    "committee": 1,
    "committee_file": 1,
    "committees": 1,
    "labels": 1,
    "labelling": 1,
    "weights": 1,
    "networks": 1,
    "network_committee": 1,
    "exploration": 1,
    "baseline": 1,
    "linear_committee": 1,
    "calculator_committee": 1,
    "external_command": 1,
    "fitted_potential": 1,
    "uncertainty": 1,
    "metrics": 1,
    "reference": 1,
    "label_child": 1,
    "label_process": 1,
    "label_server": 1,
    "named_references": 1,
    "data_commands": 5,
    "export": 2,
    "smoothness": 1,
    "held_out": 2,
    "linear_fit": 2,
    "tuning": 2,
    "network_samples": 2,
    "network_training": 2,
    "network_fit": 2,
    "external_fit": 2,
    "pacemaker_fit": 2,
    "grace_fit": 2,
    "selection": 2,
    "extrapolation": 2,
    "fits": 2,
    "calculators": 2,
    "structures": 2,
    "dynamics": 3,
    "free_energy": 3,
    "loop": 4,
    "past": 5,
    "runfile": 5,
    "run": 5,
    "run_labels": 5,
    "run_directory": 5,
    "free_energy_run": 5,
    "command_line": 5,
    "signals": 5,
    "terminal": 5,
    "report": 5,
    "display": 5,
    "quantities": 5,
    "cli": 5,
}

FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def layer_name(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path):
    """Parts of the package that a file imports, at module level or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "ase_hal":
            yield from (alias.name for alias in node.names if alias.name in LAYERS)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ase_hal."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.split(".")[1]
                for alias in node.names
                if alias.name.startswith("ase_hal.")
            )


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    here = layer_name(path)
    assert here in LAYERS, f"{here} has no place in the table of layers"
    for name in imported(path):
        assert LAYERS[name] <= LAYERS[here], f"{path.name} (layer {here}) imports {name}"


def test_only_one_file_imports_pyace():
    importers = {
        path.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and any(a.name == "pyace" for a in node.names)
    }
    assert importers == {"pacemaker.py"}


_EVERYTHING = """
import sys
import ase_hal, ase_hal.ace, ase_hal.calculators, ase_hal.dynamics
import ase_hal.ace.evaluator, ase_hal.ace.neighbors, ase_hal.ace.tables

for module in (ase_hal, ase_hal.ace, ase_hal.calculators, ase_hal.dynamics):
    for name in module.__all__:
        getattr(module, name)
print(*({"numba", "pyace", "torch"} & set(sys.modules)))
"""


def test_public_names_are_imported_without_compiling_anything():
    done = subprocess.run(
        [sys.executable, "-c", _EVERYTHING], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == []
