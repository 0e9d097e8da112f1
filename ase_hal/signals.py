"""Signals that end a command at a safe point, as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

# What batch systems, service managers and closing terminals send; all but SIGTERM and SIGHUP only
# where somebody has asked for it, as with ``sbatch --signal=USR1@300``. Left alone they would kill
# the command.
_NAMES = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
# How long a signal may wait to be noticed, s.
_TICK = 0.1

_ignored: set[int] = set()  # by an earlier block, and by nobody else


class EndedBySignal(KeyboardInterrupt):
    """A signal has asked this process to end."""


class Ending:
    """Whether a signal has come.

    Attributes
    ----------
    signal : signal.Signals or None
        The first one.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def check(self) -> None:
        """Raise EndedBySignal if a signal has come.

        What a signal raises is lost where it meets code that catches everything.
        """
        if self.signal is not None:
            raise EndedBySignal(self.signal.name)

    def before(self, function: Callable[[Any], object]) -> Callable[[Any], None]:
        """The function of one argument, with a check before each call."""

        def checked(argument: Any) -> None:
            self.check()
            function(argument)

        return checked

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Raise EndedBySignal; what signals call.

        Once is enough: the next one must not interrupt the end.
        """
        if self.signal is None:
            self.signal = signal.Signals(number)
            self.check()


@contextmanager
def ended_by_signals() -> Iterator[Ending]:
    """Have signals that would kill this process raise EndedBySignal while the block runs.

    Signals that are ignored (``nohup``) or handled already stay so, and in a thread other than the
    main one nothing changes. Once a signal has come, the process is about to end, and the next ones
    are ignored from then on.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    known = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    numbers = [n for n in known if n in _ignored or signal.getsignal(n) is signal.SIG_DFL]
    with _noticed(ending, numbers):
        for number in numbers:
            signal.signal(number, ending.receive)
        try:
            yield ending
        finally:
            for number in numbers:
                if ending.signal is None:
                    signal.signal(number, signal.SIG_DFL)
                    _ignored.discard(number)
                else:  # a function would be forgotten before the interpreter has ended
                    signal.signal(number, signal.SIG_IGN)
                    _ignored.add(number)


@contextmanager
def _noticed(ending: Ending, numbers: Sequence[int]) -> Iterator[None]:
    """Send signals to the main thread again until it has noticed them.

    One that comes just before it begins to wait for another thread would be noticed when that wait
    is over, and not before. What one raises in a finalizer is lost.
    """
    if not hasattr(signal, "pthread_kill"):  # Windows
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    main = threading.get_ident()
    stop = threading.Event()

    def remind() -> None:
        while not stop.is_set():
            number = os.read(reader, 1)[0]
            while number in numbers and ending.signal is None and not stop.wait(_TICK):
                signal.pthread_kill(main, number)

    def note(lost: sys.UnraisableHookArgs) -> None:
        if ending.signal is None or not issubclass(lost.exc_type, EndedBySignal):
            hook_before(lost)
            return
        number, ending.signal = ending.signal, None
        with suppress(BlockingIOError):
            os.write(writer, bytes([number]))

    thread = threading.Thread(target=remind, daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    hook_before, sys.unraisablehook = sys.unraisablehook, note
    try:
        yield
    finally:
        sys.unraisablehook = hook_before
        signal.set_wakeup_fd(before)
        stop.set()
        with suppress(BlockingIOError):
            os.write(writer, b"\0")
        thread.join()
        os.close(reader)
        os.close(writer)
