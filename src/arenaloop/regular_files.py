"""The one way in which a file is opened for reading: nothing that a path may lead to lets a command wait for ever.

A named pipe is opened only once somebody writes into it, a terminal or a socket never ends, ``/dev/zero`` fills the
memory. So what is no regular file is refused at once. The handles that a shell has opened for the command are the
exception, since they were given to be read: ``/dev/stdin``, ``/dev/fd/63`` of ``<(zcat FILE)``.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from arenaloop.errors import InputError

__all__ = ["NotRegularError", "open_regular", "read_regular", "read_text", "refuse_others"]

_WHAT = "a pipe, socket or device, where a file is expected"
_HANDLES = ("/dev/fd/", "/proc/self/fd/")


class NotRegularError(OSError):
    """A pipe, socket or device stands where a file is expected; `strerror` says so."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(errno.EINVAL, _WHAT, os.fspath(path))


def open_regular(path: str | os.PathLike[str], buffering: int = -1) -> io.BufferedReader:
    """Open a file for reading its bytes.

    Raises:
        NotRegularError: it is a pipe, socket or device, and no handle that was given to this process.
        OSError, ValueError: as of `open`; of a folder IsADirectoryError.
    """
    return cast(io.BufferedReader, open(path, "rb", buffering=buffering, opener=_opened))


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a file; errors as of `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def read_text(path: str | os.PathLike[str], errors: str = "strict") -> str:
    """A file's text in UTF-8, or in UTF-16 with its byte-order mark, past any mark, its lines ended alike.

    Raises:
        UnicodeDecodeError: it is neither; and errors as of `open_regular`.
    """
    raw = read_regular(path)
    encoding = "utf-16" if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    with io.TextIOWrapper(io.BytesIO(raw), encoding=encoding, errors=errors) as file:
        return file.read().lstrip("\ufeff")  # more than one where it was saved so twice


def refuse_others(paths: Iterable[Path], name: Path | None = None) -> None:
    """Refuse what is neither a regular file nor missing, before a library opens it by its name.

    Args:
        paths: the files.
        name: how the user named them, where it was in another way.

    Raises:
        InputError: a folder, pipe, socket or device stands there.
    """
    for path in paths:
        try:
            mode = os.stat(path).st_mode
        except OSError:  # missing, or said by whoever opens it
            continue
        if stat.S_ISDIR(mode):
            raise InputError(f"{name or path}: a folder, where a file is expected")
        if not stat.S_ISREG(mode):
            raise InputError(f"{name or path}: {_WHAT}")


def _opened(path: str, flags: int) -> int:
    if _given(path):
        return os.open(path, flags)
    try:
        handle = os.open(path, flags | os.O_NONBLOCK)  # which says nothing to a regular file
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):  # a socket
            raise NotRegularError(path) from None
        raise
    mode = os.fstat(handle).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # `open` itself refuses a folder
        os.close(handle)
        raise NotRegularError(path)
    return handle


def _given(path: str) -> bool:
    """Whether a path names one of this process's own handles."""
    plain = os.path.normpath(os.path.abspath(path))
    numbers = (plain.removeprefix(place) for place in _HANDLES if plain.startswith(place))
    return plain == "/dev/stdin" or any(number.isdecimal() for number in numbers)
