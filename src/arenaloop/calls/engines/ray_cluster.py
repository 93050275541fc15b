"""The connection to a Ray cluster: found and refused quickly, started quietly, closed in order.

Whatever needs actors on a cluster begins here. Nothing of Ray is imported before it is asked for.
"""

from __future__ import annotations

import atexit
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.errors import ConfigError, MissingExtraError, StoppedError

__all__ = ["Cluster", "Versions", "connected", "look_for_ray", "place", "probe"]

_KNOCK = 5.0  # seconds that an address has to take a connection
_START = 120.0  # seconds that Ray has to connect, or to start on this machine
_WATCH_EVERY, _GONE_AFTER = 2.0, 20.0  # Ray itself would end this process after a minute without its head
_STORE_BYTES = 100_000_000  # of a cluster that is started here: rows are small
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a gRPC client begins (RFC 9113, section 3.4); a server answers by a frame of SETTINGS, whose type is 4."""


class Versions(NamedTuple):
    """What driver and workers must have in common: what they send each other are pickled objects."""

    arenaloop: str
    python: str

    @classmethod
    def here(cls) -> Versions:
        """Those of this process."""
        return cls(version("arenaloop"), platform.python_version())

    def __str__(self) -> str:
        return f"arenaloop {self.arenaloop} on Python {self.python}"


def look_for_ray(what: str = "engine ray") -> None:
    """See that Ray is installed, without importing it.

    Raises:
        MissingExtraError: it is not.
    """
    if find_spec("ray") is None:
        raise MissingExtraError(what, "ray")


def place(address: str) -> str:
    """Where a cluster is, as HOST:PORT; of `auto` the one that RAY_ADDRESS names, or that runs on this machine.

    Raises:
        ConfigError: no address.
        StoppedError: there is no cluster on this machine.
    """
    if address == "auto":
        found = os.environ.get("RAY_ADDRESS", "")
        if found in ("", "auto", "local"):
            folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
            noted = Path(folder) / "ray" / "ray_current_cluster"
            if not noted.exists():
                raise StoppedError("ray:auto: no Ray cluster runs on this machine, and RAY_ADDRESS names none")
            found = noted.read_text("utf-8").strip()
        address = found
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"ray:{address}: expected ray:HOST:PORT (what `ray start --head` prints, port 6379), or ray:auto"
        )
    return address


def probe(address: str, seconds: float = _KNOCK) -> None:
    """See that a cluster's head answers at HOST:PORT, in its protocol: Ray itself would go on trying for minutes.

    Raises:
        StoppedError: none does.
    """
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), seconds) as head:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            head.settimeout(seconds)
            head.sendall(_HTTP2)
            told = head.recv(9)
    except OSError as error:
        raise StoppedError(f"no Ray cluster answers at {address} ({error})") from None
    if told[3:4] != b"\x04":
        raise StoppedError(f"no Ray cluster answers at {address} (what listens there is none)")


class Cluster:
    """A connection to a cluster, held by a thread of its own: what Ray starts here ends with the thread that began it.

    Args:
        address: HOST:PORT; None starts a cluster on this machine, which ends with the connection.
        cpus, gpus: of a cluster that is started here; None = as many GPUs as this machine has.

    Raises:
        StoppedError: nobody answers there.
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, address: str | None, *, cpus: int = 1, gpus: int | None = 0) -> None:
        look_for_ray()
        if address is not None:
            probe(address)
        self.address, self._cpus, self._gpus = address, cpus, gpus
        self._ready, self._close = threading.Event(), threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._hold, name="ray cluster", daemon=True)

    def open(self) -> None:
        """Connect; blocking.

        Raises:
            ConfigError: the cluster has another version of Ray or Python.
            StoppedError: it does not let us in.
        """
        self._thread.start()
        if not self._ready.wait(_START):
            self._failure = StoppedError(f"Ray did not start within {_START:.0f} s")
        if self._failure is not None:
            raise self._failure

    def watch(self, gone: Callable[[str], None]) -> None:
        """Call `gone` with a reason if nobody answers at the cluster's head any more: Ray would end the process."""
        threading.Thread(target=self._watch, args=(gone,), name="ray watch", daemon=True).start()

    def close(self, seconds: float) -> None:
        """Disconnect; a cluster that was started here ends. Takes no longer than it may."""
        self._close.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def abandon(self) -> None:
        """Leave a cluster that is gone without a word to it: Ray would wait a minute for it, and then crash at exit.

        So this process ends, when it does, before Ray hears of that.
        """
        atexit.register(_end)

    def _hold(self) -> None:
        try:
            own = _start(self.address, self._cpus, self._gpus)
        except Exception as error:  # told to whoever waits
            self._failure = _in_words(error, self.address)
            self._ready.set()
            return
        self._ready.set()
        self._close.wait()
        if own:
            import ray

            ray.shutdown()

    def _watch(self, gone: Callable[[str], None]) -> None:
        import ray

        head = ray.get_runtime_context().gcs_address
        answered = time.monotonic()
        while not self._close.wait(_WATCH_EVERY):
            try:
                probe(head, _WATCH_EVERY)
                answered = time.monotonic()
            except StoppedError as error:
                if time.monotonic() - answered > _GONE_AFTER:
                    gone(str(error))
                    return


_CONNECTED: dict[str | None, Cluster] = {}
_CONNECTING = threading.Lock()


def connected(address: str | None, seconds: float = 5.0) -> Cluster:
    """The cluster at an address, with the GPUs of this machine where it is started here; blocking.

    It is connected to once, and left when the process ends, within so many seconds.

    Raises:
        ConfigError, MissingExtraError, StoppedError: as of `Cluster`.
    """
    with _CONNECTING:
        if (found := _CONNECTED.get(address)) is None:
            found = Cluster(address, gpus=None)
            found.open()
            atexit.register(found.close, seconds)
            _CONNECTED[address] = found
        return found


def _start(address: str | None, cpus: int, gpus: int | None) -> bool:
    """Whether a connection was made; False where this process has one already."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is not None:
        ray.init(address=address, **quiet)
        return True
    ray.init(
        address="local",
        num_cpus=cpus,
        num_gpus=gpus,
        include_dashboard=False,
        object_store_memory=_STORE_BYTES,
        **quiet,
    )
    return True


def _end() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(StoppedError.exit_code)


def _in_words(error: Exception, address: str | None) -> Exception:
    told = " ".join(str(error).split())
    where = "on this machine" if address is None else f"at {address}"
    if "ersion mismatch" in told:
        return ConfigError(f"the Ray cluster {where} has other versions than this process: {told}")
    return StoppedError(f"Ray {where}: {told or type(error).__name__}")
