"""One of several processes that train for a run: ``python -m arenaloop.train.launched FOLDER``, started by a launcher.

It is told what to do by the folder (`errand`), prints into its own log there, and says how it has ended. It ends by
itself when the run that wants its work is gone.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from arenaloop.config import METHODS, validate
from arenaloop.errors import ArenaloopError, ConfigError, StoppedError, UserError
from arenaloop.jsonl import read_rows
from arenaloop.train.errand import GONE_AFTER, Errand, Folder
from arenaloop.train.preparing import told_to

__all__ = ["main"]

_LOOK = 1.0  # seconds between looks at whether the run is there


def main(path: str) -> int:
    """Train as one of the processes; the exit code."""
    folder, rank = Folder(Path(path)), int(os.environ.get("RANK") or 0)
    code = 1
    try:
        log = os.open(folder.log(rank), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for handle in (1, 2):  # what native libraries print last is there, too
            os.dup2(log, handle)
        errand = folder.errand()
        folder.began(rank, pid=os.getpid(), host=socket.gethostname())
        threading.Thread(target=_end_with_the_run, args=(folder, errand.word), daemon=True).start()
        _train(folder, errand, rank)
    except ArenaloopError as error:
        print(error, file=sys.stderr)
        kind = "refused" if isinstance(error, UserError) else "stopped"
        folder.ended(rank, "gone" if _another_is_gone(error) else kind, str(error))
        code = error.exit_code
    except BaseException as error:
        traceback.print_exc()
        folder.ended(rank, "failed", f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0])
    else:
        folder.ended(rank, "done", "")
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _train(folder: Folder, errand: Errand, rank: int) -> None:
    from arenaloop.train.methods import training
    from arenaloop.train.processes import joined, leave

    processes = joined()
    if processes.world != errand.world:
        raise ConfigError(
            f"launch: {errand.world} processes were to train, and {processes.world} found each other; "
            "start one launcher on each node (accelerate starts a single process where there is no GPU)"
        )
    settings = validate(METHODS[errand.method], errand.settings, "launch")
    rows = [row for _, row in read_rows(folder.rows)]
    identity = errand.reward
    with folder.steps.open("a", encoding="utf-8") as told:

        def say(line: Mapping[str, object]) -> None:
            told.write(json.dumps(line) + "\n")
            told.flush()

        tell = (lambda what, at, of: say({"doing": what, "done": at, "of": of})) if processes.first else None
        with told_to(tell):
            done = training(
                errand.method,
                errand.start,
                rows,
                errand.out,
                settings,
                seed=errand.seed,
                on_step=lambda step, total, figures: say({"step": step, "total": total, "figures": dict(figures)}),
                on_note=(lambda text: say({"note": text})) if processes.first else None,
                revision=errand.revision,
                reward=None if identity is None else processes.reward(lambda: folder.asking(identity)),
                keep_other=errand.keep_other,
            )
        if processes.first:
            folder.write("result.json", {**asdict(done), "path": str(done.path)})
    leave()


def _another_is_gone(error: ArenaloopError) -> bool:
    """Whether a process stops because of another one, and has nothing to say of its own."""
    return isinstance(error, StoppedError) and "another process of this training is gone" in str(error)


def _end_with_the_run(folder: Folder, word: str) -> None:
    """End this process once the run does not renew its word, or another one stands there."""
    last, since, missing = None, time.monotonic(), 0
    while True:
        time.sleep(_LOOK)
        found = folder.read("alive")
        missing = missing + 1 if found is None else 0
        if found != last:
            last, since = found, time.monotonic()
        other = found is not None and found[0] != word
        if other or missing > 5 or time.monotonic() - since > GONE_AFTER:
            os._exit(StoppedError.exit_code)  # without a word: the folder is another start's


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
