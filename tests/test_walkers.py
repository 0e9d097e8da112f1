"""Where trajectories are calculated makes no difference but in time."""

import os
import time

import pytest

from ase_hal.walkers import Walkers


def nap(seconds, name):
    time.sleep(seconds)
    return name, os.getpid()


@pytest.mark.parametrize("processes", [1, 2])
def test_each_calculation_is_timed_where_it_is_done(processes):
    with Walkers(processes) as walkers:
        naps = {"a": 0.4, "b": 0.1, "c": 0.2}
        futures = [walkers.submit(nap, seconds, name) for name, seconds in naps.items()]
        for future, (name, seconds) in zip(futures, naps.items(), strict=True):
            done, process = future.result()
            assert done == name
            assert (process == os.getpid()) == (processes == 1)
            # Not the time spent waiting for a free process, or for one to start.
            assert seconds <= walkers.seconds < seconds + 1.0


def test_one_process_works_when_it_is_asked():
    calls = []
    walkers = Walkers(1)
    futures = [walkers.submit(calls.append, n) for n in range(3)]
    assert calls == []
    for n, future in enumerate(futures):
        future.result()
        assert calls == list(range(n + 1))


def test_errors_are_passed_on():
    def fails():
        raise RuntimeError("broken")

    for processes in (1, 2):
        with Walkers(processes) as walkers, pytest.raises(RuntimeError, match="broken"):
            walkers.submit(fails).result()
