"""SIGTERM and SIGHUP end a verb as Ctrl-C does: in order, with what was stored, and exit code 130."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from arenaloop.store import Store

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
MAIN = "import sys; sys.argv[0] = 'arenaloop'; from arenaloop.cli import main; main()"


def battle_files(folder: Path) -> list[str]:
    """Options of a battle of two recorded models on forty prompts."""
    options = ["--prompts", str(folder / "prompts.jsonl")]
    prompts = [f"question {n}" for n in range(40)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    for name in ("a", "b"):
        rows = [json.dumps({"instruction": p, "output": f"{name} on {p}"}) + "\n" for p in prompts]
        (folder / f"{name}.jsonl").write_text("".join(rows))
        options += ["--model", f"{name}=file:{folder / name}.jsonl"]
    return options


def hearing() -> None:
    """Every signal as it is by default: whoever runs the tests may ignore some, as `nohup` does."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def start(
    folder: Path, *arguments: str, code: str = MAIN, env: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    options.setdefault("preexec_fn", hearing)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | (env or {})
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def answers_twelve() -> Callable[[dict[str, Any]], str | None]:
    """The first twelve calls are answered, the others hang."""
    numbers = count(1)
    return lambda body: "Scores: 7 5" if next(numbers) <= 12 else None


def ignoring_interrupts() -> None:  # as a shell starts what is to run in the background
    hearing()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("background", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("number", ENDING, ids=lambda one: one.name)
def test_a_battle_ends_in_order(served: Any, tmp_path: Path, number: signal.Signals, background: bool) -> None:
    if background and number is signal.SIGINT:
        return
    served.answer = answers_twelve()
    command = ["battle", *battle_files(tmp_path), "--judge", f"{served.url}#judge", "--concurrency", "4"]
    process = start(tmp_path, *command, preexec_fn=ignoring_interrupts if background else hearing)
    assert served.hanging.wait(60)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "arenaloop: interrupted; the same command resumes"
    assert "Traceback" not in said
    arena = tmp_path / "runs" / "battle" / "arena.db"
    with Store(arena, readonly=True) as store:
        assert store._reader.execute("SELECT COUNT(*) FROM verdicts WHERE status = 'ok'").fetchone() == (12,)
        # closed in order: nobody is said to be writing
        assert store._reader.execute("SELECT COUNT(*) FROM meta WHERE key = 'writing'").fetchone() == (0,)


def test_a_terminal_that_hangs_up_ends_it_in_order(served: Any, tmp_path: Path) -> None:
    served.answer = answers_twelve()
    command = ["battle", *battle_files(tmp_path), "--judge", f"{served.url}#judge", "--concurrency", "4"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child, terminal = pty.fork()
    if child == 0:
        hearing()
        os.chdir(tmp_path)
        os.execve(sys.executable, [sys.executable, "-c", MAIN, *command], environment)
    assert served.hanging.wait(60)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    with Store(tmp_path / "runs" / "battle" / "arena.db", readonly=True) as store:
        assert store._reader.execute("SELECT COUNT(*) FROM verdicts WHERE status = 'ok'").fetchone() == (12,)


def test_what_is_ignored_stays_ignored(served: Any, tmp_path: Path) -> None:
    """`nohup`: a run outlives its terminal."""
    served.answer = lambda body: "Scores: 7 5"
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from arenaloop.cli.signals import ending_like_interrupt\n"
        "with ending_like_interrupt():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    print('on')\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted')\n"
        "print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["on", "interrupted", "True"]


def test_a_background_job_stays_deaf_to_interrupts() -> None:
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from arenaloop.cli.signals import ending_like_interrupt\n"
        "with ending_like_interrupt():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('on')\n"
        "print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["on", "True", "set()"]


@pytest.mark.parametrize("number", ENDING, ids=lambda one: one.name)
def test_a_server_ends_by_them(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "sandbox", "serve", "--port", "0")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 0


INTERRUPTED = """
import os, signal
from arenaloop.audit import suspicion
from arenaloop.judges import templates

def told(module, name):
    look, looks = getattr(module, name), []
    def looking(text, *rest):
        if len(text) > 100_000:
            looks.append(text)
            print("look", len(looks), flush=True)
            if len(looks) == 1:
                os.kill(os.getpid(), signal.SIGINT)
        return look(text, *rest)
    setattr(module, name, looking)

told(*(templates, "broken") if os.environ["AT"] == "filling" else (suspicion, "_said"))
"""


@pytest.mark.parametrize("at", ["filling", "battle", "report"])
def test_an_interrupt_is_heard_while_a_text_is_looked_at(served: Any, tmp_path: Path, at: str) -> None:
    """It comes in the middle of the first look at a long text; nothing more is looked at."""
    served.answer = lambda body: "Scores: 7 5"
    options = battle_files(tmp_path)
    rows = (tmp_path / "a.jsonl").read_text().splitlines()
    rows[0] = json.dumps(json.loads(rows[0]) | {"output": "\u0300\u0316 judge ignore score " * 20_000})
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n")
    battle = ["battle", *options, "--judge", f"{served.url}#judge", "--out", "run"]
    if at == "report":
        done = start(tmp_path, *battle)
        _, said = done.communicate(timeout=60)
        assert done.returncode == 0, said
    process = start(
        tmp_path, *(["report", "run"] if at == "report" else battle), code=INTERRUPTED + MAIN, env={"AT": at}
    )
    heard, said = process.communicate(timeout=60)
    assert heard.splitlines() == ["look 1"]
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("arenaloop: interrupted")
    assert "Traceback" not in said
