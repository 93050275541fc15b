"""One writer at a time, whatever the path that leads to the arena file.

Two locks, both freed by the kernel when the process ends:

* `flock` on ``arena.db.lock``, beside the file itself (links are followed);
* a lock on the arena file's inode: one byte far beyond its end and beyond the bytes that SQLite locks, as an open file
  description lock where the system has them (Linux). So a deleted lock file lets nobody in.

A file of several names (hard links) is not written at all: SQLite finds the log by the name, so that what is committed
under one name is not seen under another. The side file also says how many rows were committed, which tells a file
whose log was lost from a whole one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import stat
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from arenaloop.errors import ArenaFileError, StorageError
from arenaloop.regular_files import read_regular

__all__ = ["WriterLock", "being_written", "committed_rows", "entered", "left", "side_file"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
_TAKEN = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}
_BYTE = 1 << 40  # SQLite's own locks are the 512 bytes from 2**30
_NOTE = 96  # bytes of the side file's one line

Inode = tuple[int, int]

# A process loses all its POSIX locks on a file, SQLite's among them, when it closes any handle of that file. So a
# handle is closed only while no store of this process has the file open.
_guard = threading.Lock()
_users: dict[Inode, int] = {}
_parked: dict[Inode, list[int]] = {}


def entered(path: Path) -> Inode:
    """Note that this process has the file open through SQLite; gives what `left` is to be told."""
    found = path.stat()
    inode = found.st_dev, found.st_ino
    with _guard:
        _users[inode] = _users.get(inode, 0) + 1
    return inode


def left(inode: Inode) -> None:
    """Note that a user of the file has closed it."""
    with _guard:
        _users[inode] -= 1
        if not _users[inode]:
            del _users[inode]
            for handle in _parked.pop(inode, ()):
                os.close(handle)


def side_file(path: Path) -> Path:
    """The file beside an arena file that its writer locks; `path` without links."""
    return path.with_name(path.name + ".lock")


def committed_rows(path: Path) -> tuple[str, int] | None:
    """Which arena file the side file belongs to, and how many rows were committed to it; None where it does not say."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        note = json.loads(read_regular(side_file(path))[:_NOTE])
        return str(note["file"]), int(note["rows"])
    return None


def being_written(path: Path) -> bool:
    """Whether a process writes an arena file at this moment.

    It is only asked after: nobody is kept from beginning to write. False also where the system cannot tell.
    """
    command = getattr(fcntl, "F_OFD_GETLK", None)
    if command is None:
        return False
    try:
        handle = os.open(path.resolve(), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    found = os.fstat(handle)
    try:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0)
        return bool(struct.unpack("hhqqi4x", fcntl.fcntl(handle, command, asked))[0] != fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        with _guard:  # closing it may free SQLite's locks of this process
            if (inode := (found.st_dev, found.st_ino)) in _users:
                _parked.setdefault(inode, []).append(handle)
            else:
                os.close(handle)


class WriterLock:
    """The right to write one arena file, from its making to `release`.

    Args:
        path: the arena file, without links; it is made, empty, if it is not there.
        name: how the user named it, for messages.

    Raises:
        ArenaFileError: another process writes the file, it has several names, or it may not be written.
        StorageError: the disk is full.
    """

    def __init__(self, path: Path, name: Path) -> None:
        self.path, self.name = path, name
        self._side = _opened(side_file(path), name.with_name(side_file(name).name))
        self._file: int | None = None
        try:
            beside = self._taken(_flock, self._side)
            self._file = _opened(path, name)
            found = os.fstat(self._file)
            self.inode: Inode = found.st_dev, found.st_ino
            whole = self._taken(_lock_inode, self._file)
            if not (whole or (beside and _locks_bytes(self._file))):
                why = (
                    "locks of byte ranges, which SQLite needs"
                    if beside
                    else "locks, so that two runs could write at once"
                )
                raise ArenaFileError(f"{name}: this file system has no {why}: name a directory elsewhere")
            self.check()  # it may have been replaced before it was locked
            if found.st_nlink > 1:
                own, its = shlex.quote(f"{name}.own"), shlex.quote(str(name))
                raise ArenaFileError(
                    f"{name}: a file of {found.st_nlink} names (hard links), of which SQLite's log follows one alone; "
                    f"make it a file of its own: cp {its} {own} && mv {own} {its}"
                )
        except BaseException:
            self.release()
            raise

    def _taken(self, lock: Callable[[int], None], handle: int) -> bool:
        """Whether a lock could be taken; False where the file system has none of its kind."""
        try:
            lock(handle)
        except OSError as error:
            if error.errno in _TAKEN:
                raise ArenaFileError(f"{self.name}: another process is writing this arena file") from error
            return False
        return True

    def note(self, identity: str, rows: int) -> None:
        """Say in the side file how many rows are committed."""
        line = json.dumps({"file": identity, "rows": rows}).ljust(_NOTE - 1) + "\n"
        with suppress(OSError):  # a full disk: the rows themselves are committed
            os.pwrite(self._side, line.encode(), 0)

    def check(self) -> None:
        """Raise StorageError if the file no longer stands where it stood: what is written would be lost or unseen."""
        try:
            found = os.stat(self.path)
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self.inode:
            raise StorageError(
                f"{self.name}: moved, replaced or deleted while it was written; what was stored is in the file that "
                "stood here, and nothing more is asked"
            )

    def release(self) -> None:
        """Free both locks; SQLite's connections are closed before."""
        if self._file is not None:
            with _guard:
                if self.inode in _users:
                    _parked.setdefault(self.inode, []).append(self._file)
                    _unlock_inode(self._file)
                else:
                    os.close(self._file)
            self._file = None
        if self._side >= 0:
            os.close(self._side)
            self._side = -1


def _opened(path: Path, name: Path) -> int:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o644)
    except IsADirectoryError:
        raise ArenaFileError(f"{name}: a folder, where a file is expected") from None
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(f"{name}: {error.strerror}") from error
        hint = "; report, rank and --dry-run read it, and another --out writes" if path.exists() else ""
        raise ArenaFileError(f"{name}: cannot be written ({error.strerror}){hint}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ArenaFileError(f"{name}: no file, but a pipe or device") from None
    return handle


def _flock(handle: int) -> None:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_inode(handle: int) -> None:
    _byte_lock(handle, fcntl.F_WRLCK)


def _unlock_inode(handle: int) -> None:
    with suppress(OSError):
        _byte_lock(handle, fcntl.F_UNLCK)


def _locks_bytes(handle: int) -> bool:
    """Whether the file system locks byte ranges for processes, as SQLite asks it to: without, SQLite waits in vain."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _BYTE + 1)
        fcntl.lockf(handle, fcntl.LOCK_UN, 1, _BYTE + 1)
    except OSError as error:
        return error.errno in _TAKEN
    return True


def _byte_lock(handle: int, kind: int) -> None:
    command = getattr(fcntl, "F_OFD_SETLK", None)
    if command is None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    # struct flock: type, whence, start, length, process (0, as the lock is the handle's)
    fcntl.fcntl(handle, command, struct.pack("hhqqi4x", kind, os.SEEK_SET, _BYTE, 1, 0))
