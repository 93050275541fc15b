"""Battles of a run with their texts, as AlpacaEval, Arena-Hard and Chatbot Arena keep them.

The texts are those that were judged, found by the verdicts behind each battle. A prompt that a form cannot hold whole
is left out with its battles, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arenaloop.data.export.described import DESCRIPTIONS
from arenaloop.data.export.rows import Account, UnfitError
from arenaloop.data.probabilities import gives_probabilities, judged_share
from arenaloop.data.result_files import check_whole
from arenaloop.data.run_battles import arena_of, judged_hashes
from arenaloop.data.seatings import Deciding, Seating, deciding, halves, seated
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow, read_rows, row_error
from arenaloop.store import Store
from arenaloop.types import Outcome, Prompt, Winner

__all__ = ["Met", "alpaca_eval", "arena_hard", "arena_hard_v01", "battles", "chatbot_arena", "together"]

_AT_ONCE = 500  # battles whose verdicts and texts are looked up together


@dataclass(frozen=True, slots=True)
class Met:
    """One battle.

    Attributes:
        model_a, model_b: who met. texts_a, texts_b: their answers, one text a turn; None of one that failed.
        winner: of the battle, as the run merged its seats. share: what `model_a` scored, 0 to 1: where the judge gives
            probabilities, their mean over the seats; else by the winner.
        judge: its name.
        seats: what the judge decided with `model_a` first, and with `model_b` first; None where it was not asked so, or
            said nothing that could be read. words: its texts.
        own_failure: who failed, where that decided the battle.
    """

    prompt: Prompt
    model_a: str
    model_b: str
    texts_a: tuple[str, ...] | None
    texts_b: tuple[str, ...] | None
    winner: Winner
    judge: str
    seats: tuple[Seating | None, Seating | None]
    words: tuple[str, str]
    own_failure: str | None = None
    share: float = 0.5

    def turned(self) -> Met:
        """The same battle, the other model named first."""
        winner = {Winner.MODEL_A: Winner.MODEL_B, Winner.MODEL_B: Winner.MODEL_A}.get(self.winner, Winner.TIE)
        return Met(
            self.prompt,
            self.model_b,
            self.model_a,
            self.texts_b,
            self.texts_a,
            winner,
            self.judge,
            self.seats[::-1],
            self.words[::-1],
            self.own_failure,
            1.0 - self.share,
        )


def battles(directory: Path, account: Account, *, words: bool = False) -> Iterator[tuple[str, Met]]:
    """The battles of a run directory, streamed; with `words` what the judge said in each seat, too.

    Yields:
        Where the battle stands, and the battle. Where both seats battle by themselves, their rows come as one each.

    Raises:
        InputError: the directory has no battles or no arena file, or a row is no battle.
    """
    path, arena = directory / "battles.jsonl", arena_of(directory)
    if arena is None:
        raise InputError(f"{directory}: no battles.jsonl with an arena.db here, which holds the texts")
    soft, judge = gives_probabilities(directory), deciding(directory)
    with Store(arena, readonly=True) as store:
        batch: list[tuple[int, JsonRow]] = []
        for numbered in read_rows(path):
            batch.append(numbered)
            if len(batch) == _AT_ONCE:
                yield from _met(batch, path, store, account, words, soft, judge)
                batch = []
        yield from _met(batch, path, store, account, words, soft, judge)
    check_whole(directory)


def _met(
    rows: Sequence[tuple[int, JsonRow]],
    path: Path,
    store: Store,
    account: Account,
    words: bool,
    soft: bool,
    judge: Deciding,
) -> Iterator[tuple[str, Met]]:
    keys = [str(key) for _, row in rows for key in row.get("verdicts") or ()]
    rulings = store.rulings(keys)
    said = store.words(keys) if words else {}
    prompts: dict[str, Prompt | None] = {}
    texts: dict[str, tuple[str, ...] | None] = {}
    for line, row in rows:
        account.read += 1
        place = f"{path.name}, line {line}"
        try:
            names, winner, prompt_id = (
                (str(row["model_a"]), str(row["model_b"])),
                Winner(row["winner"]),
                row["prompt_id"],
            )
        except (KeyError, ValueError) as error:
            raise row_error(path, line, f"no battle of a run ({error})") from None
        if prompt_id not in prompts:
            prompts[prompt_id] = store.prompt(prompt_id)
        prompt = prompts[prompt_id]
        own = [str(key) for key in row.get("verdicts") or ()]
        told = [rulings[key] for key in own if key in rulings]
        loser = row.get("own_failure")
        hashes = judged_hashes(row, told, store)
        if prompt is None or (hashes[0] is None and loser is None):
            account.leave_out("its prompt or its verdicts are not in the arena file", place)
            continue
        for text_hash in hashes:
            if text_hash is not None and text_hash not in texts:
                texts[text_hash] = store.texts(text_hash)
        both = [None if text_hash is None else texts[text_hash] for text_hash in hashes]
        first, second = halves(row, told, hashes)
        yield (
            place,
            Met(
                prompt,
                *names,
                both[0],
                both[1],
                winner,
                str(row.get("judge") or ""),
                (seated(first, rulings, said, judge), seated(second, rulings, said, judge)),
                (_words(first, said), _words(second, said)),
                loser,
                float(judged_share(row)) if soft else winner.score,
            ),
        )


def _words(keys: Sequence[str], said: Mapping[str, str]) -> str:
    return "\n\n".join(said[key] for key in keys if key in said)


def together(parts: Sequence[Met]) -> Met:
    """One battle of the rows of a pair: of each seating what the first row knows that has it."""
    seats = tuple(next((part.seats[at] for part in parts if part.seats[at] is not None), None) for at in (0, 1))
    words = tuple(next((part.words[at] for part in parts if part.words[at]), "") for at in (0, 1))
    return replace(parts[0], seats=(seats[0], seats[1]), words=(words[0], words[1]))


# ---------------------------------------------------------------------- forms


def alpaca_eval(met: Met) -> JsonRow:
    """A row of ``annotations.json``: `model_a` is the baseline; 1 it is better, 2 the other one, 1.5 a draw.

    A judge that gives probabilities makes it any number between: 1 and the other one's."""
    prompt = met.prompt
    if len(prompt.messages) > 1 or prompt.follow_ups:
        raise UnfitError("a prompt of more than one turn: AlpacaEval has one instruction")
    return {
        **({} if (own := prompt.question_id) is None else {"question_id": own}),
        "instruction": prompt.last_user,
        "output_1": met.texts_a[0] if met.texts_a else "",
        "generator_1": met.model_a,
        "dataset": str(prompt.tags.get("dataset") or prompt.tags.get("category") or "arenaloop"),
        "output_2": met.texts_b[0] if met.texts_b else "",
        "generator_2": met.model_b,
        "annotator": met.judge,
        "preference": round(2.0 - met.share, 12),
    }


def _label(seat: Seating, strong: float | None) -> str:
    """The label that the judge wrote; by its scores where it wrote none, or a lead of `strong` is said to make one."""
    if strong is None and seat.label is not None:
        return seat.label
    mark = ">>" if strong is not None and seat.lead >= strong else ">"
    return {Outcome.A: f"A{mark}B", Outcome.B: f"B{mark}A", Outcome.TIE: "A=B"}[seat.outcome]


def _games(met: Met, strong: float | None, game: Callable[[str, str], JsonRow]) -> list[JsonRow | None]:
    """Both games, the baseline (`model_a`) as A in the first: None where the judge gave no outcome."""
    found: list[JsonRow | None] = []
    for seat, words in zip(met.seats, met.words, strict=True):
        if seat is None:
            found.append(None)
            continue
        found.append(game(_label(seat, strong), words))
    return found


def _uid(met: Met) -> str | int:
    """The prompt's own id, a number where it was one; else ours."""
    own = met.prompt.question_id
    return met.prompt.id if own is None else own


def arena_hard(met: Met, strong: float | None) -> JsonRow:
    """A row of Arena-Hard v2's ``model_judgment``."""
    _require_games(met)
    return {
        "uid": _uid(met),
        "category": str(met.prompt.tags.get("category") or "arenaloop"),
        "judge": met.judge,
        "model": met.model_b,
        "baseline": met.model_a,
        "games": _games(
            met, strong, lambda label, words: {"score": label, "judgment": {"answer": words}, "prompt": []}
        ),
    }


def arena_hard_v01(met: Met, strong: float | None) -> JsonRow:
    """A row of Arena-Hard v0.1's ``model_judgment``, with the baseline, which it keeps in its configuration."""
    _require_games(met)
    return {
        "question_id": _uid(met),
        "model": met.model_b,
        "judge": met.judge,
        "baseline": met.model_a,
        "games": _games(met, strong, lambda label, words: {"user_prompt": "", "judgment": words, "score": label}),
    }


def _require_games(met: Met) -> None:
    if met.own_failure is not None:
        raise UnfitError("lost by own failure: no game was judged")


def chatbot_arena(met: Met) -> JsonRow:
    """A row as Chatbot Arena's sets have them: both conversations whole; the prompt's category and language, if any."""
    sides = [None if texts is None else met.prompt.conversation(texts) for texts in (met.texts_a, met.texts_b)]
    if None in sides:
        raise UnfitError("lost by own failure: there is no conversation")
    told = {name: met.prompt.tags[name] for name in DESCRIPTIONS if met.prompt.tags.get(name) is not None}
    return {
        "question_id": _uid(met),
        **told,
        "model_a": met.model_a,
        "model_b": met.model_b,
        "winner": met.winner.value,
        "judge": met.judge,
        "conversation_a": sides[0],
        "conversation_b": sides[1],
        "turn": met.prompt.turns,
    }
