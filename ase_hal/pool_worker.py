"""The process of a pool: it calculates what it is asked for, one thing after another.

It is started as a program of its own (:mod:`ase_hal.process_pool`), and it ends with the process
that started it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, NamedTuple

import cloudpickle

# How often to look whether the parent is still there, s.
_TICK = 1.0
# Batch systems and terminals send these to all processes of a job. The parent decides what they
# mean, and ends its workers.
_OF_THE_PARENT = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")


class Answer(NamedTuple):
    """What came of a call: a value, or an error with its traceback, and the seconds it took."""

    value: Any
    error: BaseException | None = None
    traceback: str = ""
    seconds: float = 0.0


def serve(descriptor: int, parent: int) -> None:
    """Answer pickled calls from a connection until its other end is closed.

    Parameters
    ----------
    descriptor : int
        File descriptor of the connection.
    parent : int
        Process to live no longer than.
    """
    for name in _OF_THE_PARENT:
        if hasattr(signal, name):
            # A function, as programs that are started from here inherit what is ignored.
            signal.signal(getattr(signal, name), _leave_to_the_parent)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    faulthandler.enable(2)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    connection = Connection(descriptor)
    with contextlib.suppress(EOFError, ConnectionError):
        connection.send_bytes(b"ready")
        while True:
            connection.send_bytes(_answer(connection.recv_bytes()))


def _leave_to_the_parent(number: int, frame: FrameType | None) -> None:
    pass


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_TICK)
    os._exit(1)


def _answer(request: bytes) -> bytes:
    began = time.monotonic()
    try:
        function, arguments, keywords = pickle.loads(request)
        began = time.monotonic()
        value = function(*arguments, **keywords)
        return cloudpickle.dumps(Answer(value, seconds=time.monotonic() - began))
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        seconds = time.monotonic() - began
        return cloudpickle.dumps(Answer(None, _portable(error), text, seconds))


def _portable(error: BaseException) -> BaseException:
    """The error itself if it can travel, or one that says the same."""
    try:
        copy = pickle.loads(cloudpickle.dumps(error))
    except Exception:
        copy = None
    if type(copy) is type(error):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
