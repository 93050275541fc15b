"""Exports from options to files: what can be refused, what is written, and what is said of it."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import cast

from rich.console import Console

from arenaloop.cli.directory import ARENA
from arenaloop.data.export import battles as battle_forms
from arenaloop.data.export.boards import as_csv, as_markdown, read_document
from arenaloop.data.export.formats import BATTLE_FORMATS, BOARD_FORMATS, FORMATS, NAMES, PARTS
from arenaloop.data.export.launch import DATA, LAUNCH, PROMPTS, REWARD, VERSIONS, client, numbered, script
from arenaloop.data.export.llama_factory import INFO, LLAMA_FACTORY, info_with
from arenaloop.data.export.parts import write_parts
from arenaloop.data.export.rows import KINDS, Account, Format, Kind, UnfitError, kind_of, read_rows
from arenaloop.data.export.write import Files, lineage_beside, write_training
from arenaloop.data.lineage import row_files
from arenaloop.errors import ConfigError, InputError, nearest
from arenaloop.jsonl import JsonRow, encode_json, replacing, write_json
from arenaloop.regular_files import read_regular
from arenaloop.store.pages import MAGIC
from arenaloop.tables import table_rows
from arenaloop.terminal import counted, say

__all__ = ["execute"]


def execute(
    source: Path,
    to: str,
    out: Path,
    *,
    stages: Sequence[str] = (),
    kind: str | None = None,
    baseline: str | None = None,
    strong: float | None = None,
    launch: bool = False,
    force: bool = False,
    as_json: bool = False,
) -> None:
    """Write `source` in a format to `out`.

    Raises:
        ConfigError, InputError: nothing is written.
    """
    if to not in NAMES:
        raise ConfigError(f"--to {to}: no such format{nearest(to, list(NAMES))}; known are {', '.join(NAMES)}")
    _refuse_options(to, stages, kind, baseline, strong)
    if not source.exists():
        raise InputError(f"{source}: no such file or run directory")
    _refuse_inside(out, source)
    account = Account()
    advice: list[str] = []
    if launch:
        written, advice = _launch(source, to, out, stages, kind, force, account)
    elif to in FORMATS:
        written, advice = _training(source, FORMATS[to], out, stages, kind, force, account)
    elif to in BOARD_FORMATS:
        written = _board(source, to, out, force, account)
    elif to == PARTS:
        written = _parts(source, out, force, account)
    else:
        written = _battles(source, to, out, baseline, strong, force, account)
    document = {"source": str(source), "to": to, "files": [str(path) for path in written], **account.to_json()}
    if as_json:
        sys.stdout.write(encode_json(document | {"advice": advice}, indent=2).decode() + "\n")
    _say(account, written, to, advice, Console(stderr=as_json), as_json)


def _refuse_options(
    to: str, stages: Sequence[str], kind: str | None, baseline: str | None, strong: float | None
) -> None:
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"--kind {kind}: one of {', '.join(KINDS)}{nearest(kind, list(KINDS))}")
    if to not in FORMATS and (stages or kind):
        raise ConfigError(f"--stage and --kind choose training rows, which {to} has none of")
    if baseline is not None and to not in BATTLE_FORMATS:
        raise ConfigError(f"--baseline goes with battles ({', '.join(BATTLE_FORMATS)}), not with {to}")
    if strong is not None and (not to.startswith("arena-hard") or not strong > 0):
        raise ConfigError("--strong X is a lead above 0, and goes with arena-hard and arena-hard-v0.1")


def _say(
    account: Account, written: Sequence[Path], to: str, advice: Sequence[str], console: Console, quiet: bool
) -> None:
    errors = Console(stderr=True)
    for note in account.notes:
        say(errors, f"note: {note}", fold=True)
    for reason, n in account.left_out.most_common():
        say(errors, f"left out: {counted(n, 'row')}: {reason} (first: {account.first[reason]})", fold=True)
    if account.repeated:
        say(errors, f"{counted(account.repeated, 'prompt')} had come before", fold=True)
    if account.follow_ups:
        noun = counted(account.follow_ups, "row")
        say(errors, f"{noun}: later user turns, which follow an answer, are in no prompt", fold=True)
    if account.blank:
        told = f"{account.blank:,} of {counted(account.written, 'pair')} reject a blank answer"
        say(errors, f"note: {told}: what they teach is to say anything at all", fold=True)
    shown = ", ".join(map(str, written[:4])) + (f" and {len(written) - 4:,} files more" if len(written) > 4 else "")
    say(console, f"{account.written:,} of {account.read:,} rows as {to}: {shown}", fold=True)
    for line in [] if quiet else advice:
        say(console, line)


def _refuse_inside(path: Path, source: Path) -> None:
    """Raise InputError for a file in the run directory that is read, or that holds the file that is read."""
    whole = source.resolve()
    run = whole if whole.is_dir() else next((one for one in whole.parents if (one / ARENA).is_file()), None)
    if run is not None and any(one.is_relative_to(run) for one in (path.resolve(), path.parent.resolve() / path.name)):
        raise InputError(f"--out {path}: inside the run directory {run}, whose files stay as they are; take another")


def _is_arena(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
    return False


def _refuse_there(path: Path, force: bool, sources: Sequence[Path]) -> None:
    """Raise InputError where a file stands already, is what is read, or is an arena file."""
    if sources:
        _refuse_inside(path, sources[0])
    if any(path.resolve() == one.resolve() for one in sources):
        raise InputError(f"--out {path}: that is what is read; take another file")
    if path.is_dir():
        raise InputError(f"--out {path}: a folder, where a file is to be written")
    if path.is_file() and _is_arena(path):
        raise InputError(f"--out {path}: an arena file, which is never written over; take another file")
    if path.is_file() and not force:
        raise InputError(f"--out {path}: a file is there already; --force writes over it")


# ---------------------------------------------------------------------- training rows


def _training(
    source: Path, form: Format, out: Path, stages: Sequence[str], kind: str | None, force: bool, account: Account
) -> tuple[list[Path], list[str]]:
    if not out.name.endswith(form.endings):
        raise ConfigError(f"--out {out}: {form.title} tells a file by its ending: {' or '.join(form.endings)}")
    files, chosen = _sources(source, stages, cast("Kind | None", kind))
    if chosen not in form.convert:
        raise ConfigError(f"{form.title} takes no {chosen}; it takes {' and '.join(form.convert)} (--kind)")
    for path in (out, *([] if form.schema else [lineage_beside(out)])):
        _refuse_there(path, force, [source, *(file for _, file in files)])
    if form is LLAMA_FACTORY:
        _refuse_inside(out.with_name(INFO), source)
    info = info_with(out, chosen, force=force) if form is LLAMA_FACTORY else None
    written = write_training(read_rows(files, chosen, account), form, chosen, out, account)
    if info is not None:
        written.append(out.with_name(INFO))
        write_json(written[-1], info)
    return written, form.advice(out, chosen, account)


def _sources(source: Path, stages: Sequence[str], kind: Kind | None) -> tuple[list[tuple[str, Path]], Kind]:
    """The files that hold the rows, each with its stage, and their kind."""
    if not source.is_dir():
        if stages:
            raise ConfigError("--stage chooses among the stages of a run directory; this is a file")
        head = next(table_rows(source), None)
        found = None if head is None else kind_of(head[1])
        if found is None:
            names = "no rows" if head is None else ", ".join(list(map(str, head[1]))[:12])
            raise InputError(f"{source}: neither training rows nor labels (found: {names})")
        return [("", source)], found if kind is None else kind
    there = _stage_files(source)
    if aside := [name for name in stages if name not in there and (source / "data" / f"{name}.jsonl").is_file()]:
        raise InputError(f"{source}: data/{aside[0]}.jsonl holds what is not trained on (held out, or dropped)")
    if missing := [name for name in stages if name not in there]:
        name = missing[0]
        if name in _stages(source) or (source / "checkpoints" / name).is_dir():
            what = f"the stage {name!r} has no rows file (data/{name}.jsonl)"
        else:
            what = f"no training rows of a stage {name!r}{nearest(name, list(there))}"
        raise InputError(f"{source}: {what}; there are those of {', '.join(there) or 'none'}")
    kinds: dict[str, Kind] = {}
    for name in stages or there:
        head = next(table_rows(there[name]), None) if there[name].stat().st_size else None
        found = None if head is None else kind_of(head[1])
        if found is not None:
            kinds[name] = found
    if kind in (None, "prompts") or not stages:
        kinds = {name: own for name, own in kinds.items() if kind in (None, "prompts", own)}
    if not kinds:
        what = "training rows" if kind is None else f"rows of {kind}"
        raise InputError(f"{source}: no {what} in its data/ (a recipe's stages write them there)")
    if kind is None and len(set(kinds.values())) > 1:
        each = [f"{own} ({', '.join(n for n in kinds if kinds[n] == own)})" for own in KINDS if own in kinds.values()]
        raise ConfigError(f"{source} holds {' and '.join(each)}: choose with --kind or --stage")
    return [(name, there[name]) for name in kinds], next(iter(kinds.values())) if kind is None else kind


def _stage_files(directory: Path) -> dict[str, Path]:
    """The row files of a run's stages, in the order of its summary."""
    files, order = row_files(directory), _stages(directory)
    return {name: files[name] for name in [*(n for n in order if n in files), *(n for n in files if n not in order)]}


def _stages(directory: Path) -> list[str]:
    """The stages that a run's summary names; none without one."""
    try:
        return [str(stage["name"]) for stage in json.loads(read_regular(directory / "summary.json"))["stages"]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []


def _launch(
    source: Path, to: str, out: Path, stages: Sequence[str], kind: str | None, force: bool, account: Account
) -> tuple[list[Path], list[str]]:
    """A folder that trains on the prompts: data, rewards, and what starts it."""
    if to not in VERSIONS:
        raise ConfigError(f"--launch goes with {', '.join(VERSIONS)}, not with {to}")
    if kind not in (None, "prompts"):
        raise ConfigError(f"--launch trains on prompts, whose answers are rewarded; --kind {kind} has its own already")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: a file, where a folder for several is wanted")
    files, _ = _sources(source, stages, "prompts")
    data, beside = out / DATA[to], [out / name for name in (LAUNCH, REWARD, PROMPTS)]
    for path in (data, *beside, *([] if FORMATS[to].schema else [lineage_beside(data)])):
        _refuse_there(path, force, [source, *(file for _, file in files)])
    data.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out / PROMPTS) as prompts:
        rows = numbered(read_rows(files, "prompts", account), prompts)
        written = write_training(rows, FORMATS[to], "prompts", data, account)
    for path, text in ((out / LAUNCH, script(to)), (out / REWARD, client())):
        with replacing(path) as file:
            file.write(text.encode())
    (out / LAUNCH).chmod(0o755)
    asked = f"arenaloop reward-server --reward SPEC --prompts {shlex.quote(str(out / PROMPTS))} --out DIR"
    started = f"bash {shlex.quote(str(out / LAUNCH))} MODEL"
    return [*written, *beside], [asked, started]


# ---------------------------------------------------------------------- leaderboard and battles


_OTHER_TABLES = (".xlsx", ".xls", ".ods", ".parquet", ".json", ".jsonl", ".html")


def _board(source: Path, to: str, out: Path, force: bool, account: Account) -> list[Path]:
    if out.suffix.lower() in _OTHER_TABLES:
        ending = ".csv" if to == "csv" else ".md"
        raise ConfigError(f"--out {out}: --to {to} writes no {out.suffix} file; name it {out.with_suffix(ending)}")
    _refuse_there(out, force, [source])
    document = read_document(source)
    account.read = account.written = len(document["leaderboard"])
    text = as_csv(document) if to == "csv" else as_markdown(document)
    with replacing(out) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
    return [out]


def _battles(
    source: Path, to: str, out: Path, baseline: str | None, strong: float | None, force: bool, account: Account
) -> list[Path]:
    if not source.is_dir():
        raise InputError(f"{source}: {to} needs a run directory, whose arena file holds the texts")
    if to.startswith("arena-hard") and baseline is None:
        raise ConfigError(f"{to} needs --baseline MODEL: its rows are games against one")
    if to == "chatbot-arena":
        _refuse_there(out, force, [source])
        if not out.name.endswith(".jsonl"):
            raise ConfigError(f"--out {out}: a name that ends in .jsonl")
    elif out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: a file, where a folder for several is wanted")
    met = battle_forms.battles(source, account, words=to.startswith("arena-hard"))
    models: set[str] = set()
    with contextlib.ExitStack() as stack:
        files = Files(stack, lambda path: _refuse_there(path, force, [source]))
        outputs: set[tuple[str, str]] = set()
        for place, battle in _paired(_against(met, baseline, account, models), seats=to.startswith("arena-hard")):
            try:
                if to == "alpaca-eval":
                    _add_alpaca(files, out, battle, outputs)
                elif to == "chatbot-arena":
                    files.add(out, battle_forms.chatbot_arena(battle))
                else:
                    row = battle_forms.arena_hard if to == "arena-hard" else battle_forms.arena_hard_v01
                    folder = files.named(out, battle.judge, "")
                    files.add(files.named(folder, battle.model_b, ".jsonl"), row(battle, strong))
            except UnfitError as error:
                account.leave_out(str(error), place)
                continue
            account.written += 1
        if baseline is not None and baseline not in models:
            raise InputError(f"{source}: no model {baseline!r} battled{nearest(baseline, sorted(models))}")
        if not account.written:
            why = "; ".join(f"{n:,}: {reason}" for reason, n in account.left_out.most_common(3))
            raise InputError(f"{source}: no battle to export: {account.read:,} read; left out {why or 'none'}")
        files.close_arrays()
        return list(files)


def _parts(source: Path, out: Path, force: bool, account: Account) -> list[Path]:
    if not source.is_dir():
        raise InputError(f"{source}: parquet needs a run directory; tables of battles are read as they are")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: a file, where a folder for several is wanted")
    if out.is_dir() and any(out.iterdir()):
        ours = all(one.is_file() and re.fullmatch(r"part-\d{5}\.parquet", one.name) for one in out.iterdir())
        if not (force and ours):
            told = "--force writes over it" if ours else "and other files than parts of battles in it; take another"
            raise InputError(f"--out {out}: a folder is there already{',' if not ours else ';'} {told}")
    return write_parts(source, out, account)


def _against(
    met: Iterator[tuple[str, battle_forms.Met]], baseline: str | None, account: Account, models: set[str]
) -> Iterator[tuple[str, battle_forms.Met]]:
    """The battles with the baseline, which is named first; all of them where there is none."""
    for place, battle in met:
        models.update((battle.model_a, battle.model_b))
        if baseline is None or battle.model_a == baseline:
            yield place, battle
        elif battle.model_b == baseline:
            yield place, battle.turned()
        else:
            account.leave_out("a battle without the baseline", place)


def _paired(met: Iterator[tuple[str, battle_forms.Met]], *, seats: bool) -> Iterator[tuple[str, battle_forms.Met]]:
    """With `seats` the games of a pair together, where each seat is a battle of its own."""
    if not seats:
        yield from met
        return
    for _, group in groupby(met, key=lambda one: (one[1].prompt.id, one[1].model_a, one[1].model_b)):
        (place, first), *rest = group
        yield place, battle_forms.together([first, *(battle for _, battle in rest)])


def _add_alpaca(files: Files, out: Path, battle: battle_forms.Met, outputs: set[tuple[str, str]]) -> None:
    """The annotation, and each model's answer once for its ``model_outputs``."""
    row = battle_forms.alpaca_eval(battle)
    files.add(out / "annotations.json", row, array=True)
    for side in ("1", "2"):
        model = row[f"generator_{side}"]
        if (model, battle.prompt.id) not in outputs:
            outputs.add((model, battle.prompt.id))
            answer: JsonRow = {key: row[key] for key in ("question_id", "dataset", "instruction") if key in row}
            answer |= {"output": row[f"output_{side}"], "generator": model}
            files.add(files.named(out / "model_outputs", model, ".json"), answer, array=True)
