"""SIGTERM and SIGHUP end a verb as Ctrl-C does: no call begins any more, what is stored stays, exit code 130."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["ending_like_interrupt", "told_to_end"]

_ENDING = ("SIGTERM", "SIGHUP")  # the second is not known everywhere
_got: list[int] = []


def told_to_end() -> bool:
    """Whether a verb of this process has been ended by SIGTERM, as launchers do, and not by a person's Ctrl-C."""
    return signal.SIGTERM in _got


@contextlib.contextmanager
def ending_like_interrupt() -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP do what SIGINT does at that moment; what is ignored stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [one for name in _ENDING if (one := getattr(signal, name, None)) is not None]
    before = {one: signal.getsignal(one) for one in ours if signal.getsignal(one) is not signal.SIG_IGN}
    terminals = [handle for handle in (1, 2) if os.isatty(handle)]

    def interrupt(number: int, frame: FrameType | None) -> None:
        _got.append(number)
        for handle in terminals:
            if not os.isatty(handle):  # it has hung up: who writes to it would fail, and not end in order
                with contextlib.suppress(OSError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), handle)
        handler = signal.getsignal(signal.SIGINT)  # the event loop's, while one runs
        if callable(handler):
            handler(signal.SIGINT, frame)

    # A shell's background job ignores Ctrl-C, and is to end in order by these all the same: SIGINT gets a handler, for
    # `interrupt` and for the event loop to replace, but no signal reaches it.
    deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if deaf:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for one in before:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        if deaf:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        for one, handler in before.items():
            signal.signal(one, handler if handler is not None else signal.SIG_DFL)
