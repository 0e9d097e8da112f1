"""Kernels on disk: several processes may fill the cache at once, and it is filled once."""

import json
import os
import subprocess
import sys

import pytest

_SCRIPT = """
import json
import numpy as np
from ase.build import bulk
from ase_hal.ace.kernels.cells import find_pairs
from ase_hal.ace.neighbors import NeighborList

atoms = bulk("Cu", a=2.6, cubic=True) * 2
atoms.positions += np.random.default_rng(1).normal(scale=0.1, size=(len(atoms), 3))
pairs, *_ = NeighborList(("Cu",), cutoff=3.0, skin=0.1).update(atoms)
neighbours = pairs.neighbour[: pairs.pair_first[-1]]  # what follows is spare room
print(json.dumps({
    "answer": neighbours.tobytes().hex(),
    "loaded": sum(find_pairs.stats.cache_hits.values()),
    "compiled": sum(find_pairs.stats.cache_misses.values()),
}))
"""


def start(cache):
    return subprocess.Popen(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process):
    out, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(out)


@pytest.mark.slow
def test_processes_that_fill_an_empty_cache_together_do_not_disturb_each_other(tmp_path):
    together = [said(process) for process in [start(tmp_path) for _ in range(3)]]
    assert sum(one["compiled"] for one in together) >= 1
    assert all(one["compiled"] + one["loaded"] == 1 for one in together)
    later = said(start(tmp_path))
    assert (later["compiled"], later["loaded"]) == (0, 1)
    assert {one["answer"] for one in [*together, later]} == {later["answer"]}
