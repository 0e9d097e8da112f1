"""Where things are calculated makes no difference but in time, nor does who is killed."""

import logging
import os
import signal
import sys
import time
from concurrent.futures import CancelledError, wait

import cloudpickle
import numpy as np
import pytest
from label_calculators import assert_gone, descendants

from ase_hal import process_pool
from ase_hal.process_pool import ProcessKilled, ProcessPool

# Functions travel by value: the processes need not import what the tests do.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(process_pool, "_PAUSE", 0.01)
    monkeypatch.setattr(process_pool, "_TICK", 0.05)


def nap(seconds, name):
    time.sleep(seconds)
    return name, os.getpid()


@pytest.mark.parametrize("processes", [1, 2])
def test_each_calculation_is_timed_where_it_is_done(processes):
    with ProcessPool(processes) as pool:
        naps = {"a": 0.2, "b": 0.05, "c": 0.1}
        futures = [pool.submit(nap, seconds, name) for name, seconds in naps.items()]
        for future, (name, seconds) in zip(futures, naps.items(), strict=True):
            done, process = future.result()
            assert done == name
            assert (process == os.getpid()) == (processes == 1)
            # Not the time spent waiting for a free process, or for one to start.
            assert seconds <= pool.seconds < seconds + 0.5


def test_one_process_works_when_it_is_asked():
    calls = []
    pool = ProcessPool(1)
    futures = [pool.submit(calls.append, n) for n in range(3)]
    assert calls == []
    for n, future in enumerate(futures):
        future.result()
        future.result()
        assert calls == list(range(n + 1))
    with pytest.raises(ValueError, match="at least one process, got 0"):
        ProcessPool(0)


class Picky(Exception):
    """Cannot be unpickled."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


@pytest.mark.parametrize("processes", [1, 2])
def test_errors_are_passed_on(processes):
    def fails(error):
        raise error

    with ProcessPool(processes) as pool:
        with pytest.raises(RuntimeError, match="broken") as caught:
            pool.submit(fails, RuntimeError("broken")).result()
        if processes == 2:
            assert "in fails" in str(caught.value.__cause__)
            with pytest.raises(RuntimeError, match="Picky: one and two"):
                pool.submit(lambda: fails(Picky("one", "two"))).result()
            with pytest.raises(TypeError, match="pickle"):
                pool.submit(len, (n for n in range(2))).result()
            with pytest.raises(TypeError, match="pickle"):
                pool.submit(lambda: (n for n in range(2))).result()
        assert pool.submit(len, "abc").result() == 3
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(len, "abc")


# --- death -------------------------------------------------------------------------------


def draws(rng, folder, number, *, deaths, how="kill"):
    """Use the generator, and die so many times."""
    values = rng.normal(size=3)
    with open(folder / f"{number}", "a") as file:
        file.write(f"{os.getpid()}\n")
    tries = len((folder / f"{number}").read_text().split())
    time.sleep(0.1)
    if tries <= deaths:
        if how == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGKILL)
    return np.append(values, rng.normal())


def submit(pool, folder, deaths):
    rng = np.random.default_rng(3)
    return [
        pool.submit(draws, child, folder, number, deaths=n)
        for number, (n, child) in enumerate(zip(deaths, rng.spawn(len(deaths)), strict=True))
    ]


def test_what_was_killed_is_done_again_with_the_same_numbers(tmp_path, caplog):
    before = descendants()
    (tmp_path / "killed").mkdir()
    (tmp_path / "alone").mkdir()
    with ProcessPool(1) as pool:
        expected = [f.result() for f in submit(pool, tmp_path / "alone", [0] * 5)]
    with caplog.at_level(logging.WARNING), ProcessPool(2) as pool:
        futures = submit(pool, tmp_path / "killed", [0, 2, 0, 1, 0])
        assert len(wait(futures).done) == 5
        results = [f.result() for f in futures]
    assert np.array_equal(results, expected)
    tries = [len((tmp_path / "killed" / f"{n}").read_text().split()) for n in range(5)]
    assert tries == [1, 3, 1, 2, 1], "nothing else was done twice"
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["a process was ended (SIGKILL) during a calculation (draws), which is "
                        "done again"] * 3  # fmt: skip
    assert_gone(descendants() - before)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("kill", r"ended 3 times .*: SIGKILL, SIGKILL, SIGKILL\. .* fewer workers, or .* memory"),
        ("exit", r"ended 3 times .*: exit status 3, .* standard error"),
    ],
)
def test_three_deaths_are_enough(tmp_path, how, message):
    with ProcessPool(2) as pool:
        bad = pool.submit(draws, np.random.default_rng(1), tmp_path, 0, deaths=9, how=how)
        good = pool.submit(draws, np.random.default_rng(1), tmp_path, 1, deaths=0)
        with pytest.raises(ProcessKilled, match=message):
            bad.result()
        assert len(good.result()) == 4
        assert pool.submit(len, "abc").result() == 3


def test_a_process_that_was_killed_while_it_waited_is_replaced(caplog):
    with ProcessPool(2) as pool:
        first = pool.submit(os.getpid).result()
        os.kill(first, signal.SIGKILL)
        time.sleep(0.1)
        others = [pool.submit(nap, 0.2, n).result()[1] for n in range(2)]
    assert first not in others
    assert caplog.records == []


def forks():
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_death_is_noticed_though_a_child_keeps_the_connection_open(tmp_path):
    before = descendants()
    with ProcessPool(2) as pool, pytest.raises(ProcessKilled):
        pool.submit(forks).result()
    for pid in descendants() - before:
        os.kill(pid, signal.SIGKILL)


def test_signals_to_all_processes_are_for_the_parent():
    def signalled(name):
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(0.05)
        return os.getpid()

    names = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    with ProcessPool(2) as pool:
        pids = {pool.submit(signalled, name).result() for name in names}
    assert len(pids) <= 2


def test_an_exception_ends_what_is_under_way():
    before = descendants()
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), ProcessPool(2) as pool:  # noqa: PT012
        futures = [pool.submit(nap, 60, n) for n in range(4)]
        while len(descendants() - before) < 2:
            time.sleep(0.01)
        raise ZeroDivisionError
    assert time.monotonic() - began < 20
    assert_gone(descendants() - before)
    for future in futures:
        with pytest.raises(CancelledError):
            future.result()
