"""What is read of an arena file: everything that was committed, as records and by name.

What is still on its way to the disk is seen by `store.Store` alone; what reports count is in `counts`.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any, NamedTuple

from arenaloop.store.faults import UnreadableRowError
from arenaloop.store.opening import identity
from arenaloop.store.rows import (
    COLUMNS,
    RULING_COLUMNS,
    STATUSES,
    changed_text,
    check_text,
    from_json,
    from_stored,
    missing_prompt,
    prompt_of,
    record_of,
    rulings_by_key,
    whole_response,
)
from arenaloop.store.schema import Row
from arenaloop.types import Judgement, Prompt, Response, Ruling, Status, content_hash

__all__ = ["REFERENCES", "AnswerTurn", "AskedTurn", "JudgedCall", "Readings", "Turn", "Usage", "marks"]

REFERENCES = "references"
"""Room of the note of how many prompts got a reference answer after they were stored."""

_IN_BATCH = 400  # keys per IN (…) look-up, below SQLite's limit of parameters
_PROMPTS_AT_ONCE = 48
_JUDGED = ("verdicts", "judgements")
_KEYED = (
    ("prompt", "prompts", "id"),
    ("response", "responses", "key"),
    ("verdict", "verdicts", "key"),
    ("judgement", "judgements", "key"),
)
_RECENT = 5000  # rows among which examples of a model's calls are looked for
_CHARGED = "CASE WHEN calls = 1 AND usd_estimated = 0 THEN usd END"


class Usage(NamedTuple):
    """What all invocations on one arena file have cost so far.

    Attributes:
        calls: requests sent, retries included, and those that were cut off. `tokens_in`, `tokens_out`: as the servers
            reported, unknown counted 0.
        usd: None if the price of any call is unknown.
        seconds: wall time from the first call to the last stored row, summed over invocations.
        usd_estimated: the part of `usd` that no server has told the tokens of.
        calls_cut_off: requests that were sent and of which nothing came back, because the invocation ended.
    """

    calls: int
    tokens_in: int
    tokens_out: int
    usd: float | None
    seconds: float
    usd_estimated: float = 0.0
    calls_cut_off: int = 0


Turn = tuple[str, Status, str]
"""Text and status of one turn of an answer, and the hash of all texts up to it."""


class OnPrompt(NamedTuple):
    """A prompt, the turns of answers to it by (response key, turn), and the statuses of what was judged by key."""

    prompt: Prompt
    turns: dict[tuple[str, int], Turn]
    judged: dict[str, Status]


class AskedTurn(NamedTuple):
    """A stored first turn whose tokens were told; `characters`: of the answer; `usd`: as of `JudgedCall`."""

    key: str
    prompt_id: str
    tokens_in: int | None
    tokens_out: int
    characters: int
    usd: float | None = None


class AnswerTurn(NamedTuple):
    """One attempt at one turn of an answer, as it is stored."""

    prompt_id: str
    model: str
    sample: int
    turn: int
    attempt: int
    status: str
    text: str
    reasoning: str | None
    finish_reason: str | None
    tokens_in: int | None
    tokens_out: int | None
    usd: float | None
    seconds: float | None
    error: str | None


_JUDGED_CALLS = (("verdicts", "first_hash, second_hash", "AND kind = 'pairwise'"), ("judgements", "response_hash", ""))


class JudgedCall(NamedTuple):
    """A stored judge call whose tokens were told.

    Attributes:
        hashes: of the texts that it was over, in seat order.
        usd: what one request was charged, by what the server told; None where it took several, or that is not known.
    """

    prompt_id: str
    hashes: tuple[str, ...]
    tokens_in: int
    tokens_out: int
    usd: float | None = None


class Readings:
    """The readings of an open arena file; `store.Store` opens it."""

    _reader: sqlite3.Connection

    # ------------------------------------------------------------------ stages and notes

    def stage(self, name: str, key: str) -> dict[str, Any] | None:
        """The recorded result of a recipe's stage, or None if it has not finished with these settings."""
        row = self._reader.execute("SELECT result FROM stages WHERE name = ? AND key = ?", (name, key)).fetchone()
        return from_json(row[0]) if row else None

    def stages(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(name, result) of every finished stage, oldest first; a name comes again where its settings were changed."""
        for name, result in self._reader.execute("SELECT name, result FROM stages ORDER BY rowid"):
            yield name, from_json(result)

    def note(self, room: str, key: str) -> Any | None:
        """A runner's own state, as it was put last; None if there is none."""
        row = self._reader.execute("SELECT value FROM notes WHERE room = ? AND key = ?", (room, key)).fetchone()
        return from_json(row[0]) if row else None

    def notes(self, room: str) -> Iterator[tuple[str, Any]]:
        """(key, value) of all of a runner's notes, in the order in which they were last put, the oldest first."""
        for key, value in self._reader.execute("SELECT key, value FROM notes WHERE room = ? ORDER BY rowid", (room,)):
            yield key, from_json(value)

    # ------------------------------------------------------------------ whether anybody was answered

    def answered(self, role: str, name: str, fingerprint: str = "", *, read: bool = False) -> bool:
        """Whether any call of one model or judge brought something from it that is neither a failure nor a refusal.

        Args:
            role: ``"contestant"`` or ``"judge"``.
            name: of the contestant, or of the judge.
            fingerprint: of the judge; so that other settings of it do not count.
            read: only what could be read counts.
        """
        tables, mine, values = ["responses"], "model = ?", [name]
        if role == "judge":
            tables = [table for table in _JUDGED if self._holds(table)]
            mine, values = "judge = ? AND judge_hash = ?", [name, fingerprint]
        came = "status = 'ok'" if read else "status NOT IN ('error', 'refused')"
        queries = (f"SELECT 1 FROM {table} WHERE {mine} AND {came} LIMIT 1" for table in tables)  # noqa: S608
        return any(self._reader.execute(query, values).fetchone() for query in queries)

    # ------------------------------------------------------------------ prompts and answers

    def prompt(self, prompt_id: str) -> Prompt | None:
        """One prompt by its id; None if nothing is stored on it."""
        row = self._reader.execute("SELECT * FROM prompts WHERE id = ?", (prompt_id,)).fetchone()
        if row is not None:
            return prompt_of(row)
        if self._reader.execute("SELECT 1 FROM responses WHERE prompt_id = ? LIMIT 1", (prompt_id,)).fetchone():
            raise missing_prompt(prompt_id)
        return None

    def prompts(self) -> Iterator[Prompt]:
        """All prompts, streamed in the order of their ids."""
        return map(prompt_of, self._reader.execute("SELECT * FROM prompts ORDER BY id"))

    def on_prompts(self, prompt_ids: Iterable[str]) -> Iterator[OnPrompt]:
        """What is stored on each of many prompts, in the order given; ids that are not stored are left out.

        Some dozens are read at once: look-ups for one prompt at a time cost more than the judging of a pair. So what
        is appended while a prompt waits for its turn is not seen.
        """
        judged = [table for table in _JUDGED if self._holds(table)]
        ids = iter(prompt_ids)
        while batch := list(islice(ids, _PROMPTS_AT_ONCE)):
            chosen = f"WHERE prompt_id IN ({marks(batch)})"
            prompts = self._reader.execute(f"SELECT * FROM prompts WHERE id IN ({marks(batch)})", batch)  # noqa: S608
            found = {row[0]: OnPrompt(prompt_of(row), {}, {}) for row in prompts}
            # in the order of the index, in which later attempts come later and replace earlier ones
            query = (
                f"SELECT prompt_id, key, turn, text, status, text_hash FROM responses {chosen} ORDER BY prompt_id, id"  # noqa: S608
            )
            try:
                for prompt_id, key, turn, text, status, text_hash in self._reader.execute(query, batch):
                    turns = found[prompt_id].turns
                    turns[key, turn] = told = (from_stored(text), STATUSES[status], text_hash)
                    self._check(key, turn, told)
                for table in judged:
                    query = f"SELECT prompt_id, key, status FROM {table} {chosen} ORDER BY prompt_id, id"  # noqa: S608
                    for prompt_id, key, status in self._reader.execute(query, batch):
                        found[prompt_id].judged[key] = STATUSES[status]
            except KeyError as error:
                raise missing_prompt(str(error.args[0])) from None
            yield from (found.pop(prompt_id) for prompt_id in batch if prompt_id in found)

    def texts(self, text_hash: str) -> tuple[str, ...] | None:
        """The texts (one per turn) behind a `Response.text_hash`, or a judgement's text behind its own."""
        row = self._reader.execute("SELECT key, turn, text FROM responses WHERE text_hash = ? LIMIT 1", (text_hash,))
        if (found := row.fetchone()) is None:
            row = self._reader.execute("SELECT key, raw FROM judgements WHERE text_hash = ? LIMIT 1", (text_hash,))
            if (judged := row.fetchone()) is None:
                return None
            check_text(judged[0], said := from_stored(judged[1]), text_hash)
            return (said,)
        key, last, text = found
        # Earlier turns may have been asked more than once: the texts that belong together are those of the hash.
        query = "SELECT DISTINCT text FROM responses WHERE key = ? AND turn = ? ORDER BY id DESC"
        before = [[from_stored(t) for (t,) in self._reader.execute(query, (key, turn))] for turn in range(last)]
        for some in product(*before):
            if content_hash([*some, from_stored(text)]) == text_hash:
                return (*some, from_stored(text))
        raise changed_text(key)

    def _check(self, key: str, turn: int, told: Turn) -> None:
        """Raise UnreadableRowError if the text of a turn is not the one that its row was stored with."""
        if turn == 0:
            check_text(key, told[0], told[2])
        elif (texts := self.texts(told[2])) is None or texts[-1] != told[0]:
            raise changed_text(key)

    def responses_of(self, prompt: Prompt) -> dict[str, Response]:
        """All whole responses to a prompt, by response key: one look-up, not one for each turn of each.

        As `Store.response` gives them, but under the name of the model that was asked first where several share a key.
        """
        query = "SELECT key, turn, text, status, model, text_hash FROM responses WHERE prompt_id = ? ORDER BY id"
        turns: dict[str, dict[int, tuple[str, Status]]] = {}
        last: dict[str, tuple[str, str]] = {}
        for key, turn, text, status, model, text_hash in self._reader.execute(query, (prompt.id,)):
            said = from_stored(text)
            turns.setdefault(key, {})[turn] = said, STATUSES[status]
            self._check(key, turn, (said, STATUSES[status], text_hash))
            last[key] = from_stored(model), text_hash
        found = {}
        for key, (model, text_hash) in last.items():
            # of several turns the last row's hash may stand for an earlier attempt at the first of them
            known = text_hash if prompt.turns == 1 else ""
            if (response := whole_response(prompt, model, turns[key].get, known)) is not None:
                found[key] = response
        return found

    def answer_error(self, key: str) -> str | None:
        """Why the latest failed turn under a response's key failed; None where none did, or none said why."""
        query = """SELECT error FROM responses WHERE key = ? AND status IN ('error', 'refused')
            ORDER BY id DESC LIMIT 1"""
        row = self._reader.execute(query, (key,)).fetchone()
        return from_stored(row[0]) if row else None

    def authors(self, prompt_id: str, text_hash: str) -> list[str]:
        """The models that answered a prompt with a text, sorted."""
        query = "SELECT DISTINCT model FROM responses WHERE text_hash = ? AND prompt_id = ?"
        return sorted(from_stored(model) for (model,) in self._reader.execute(query, (text_hash, prompt_id)))

    def answers_by_model(self) -> dict[str, int]:
        """How many answers that battle are stored of each model, one per turn and attempt."""
        query = f"SELECT model, COUNT(*) FROM responses WHERE {_BATTLING} GROUP BY model"  # noqa: S608
        return {from_stored(model): count for model, count in self._reader.execute(query)}

    def answers(self) -> Iterator[tuple[str, str, str]]:
        """(prompt id, model, text) of all those answers, streamed in the order in which they came."""
        query = f"SELECT key, turn, text_hash, prompt_id, model, text FROM responses WHERE {_BATTLING} ORDER BY id"  # noqa: S608
        for key, turn, text_hash, prompt_id, model, text in self._reader.execute(query):
            said = from_stored(text)
            if turn == 0:
                check_text(key, said, text_hash)
            yield prompt_id, from_stored(model), said

    def asked_turns(self, model: str) -> list[AskedTurn]:
        """A model's first turns among the latest answers, by key: neighbours have nothing in common."""
        query = f"""SELECT key, prompt_id, tokens_in, tokens_out, LENGTH(text), {_CHARGED}
            FROM (SELECT * FROM responses ORDER BY id DESC LIMIT {_RECENT})
            WHERE model = ? AND turn = 0 AND status IN ('ok', 'truncated') AND tokens_out IS NOT NULL ORDER BY key"""  # noqa: S608
        return [AskedTurn(*row) for row in self._reader.execute(query, (model,))]

    # ------------------------------------------------------------------ judge calls

    def rulings_of(self, prompt_id: str) -> dict[str, Ruling]:
        """What all verdicts over two answers to a prompt decided, the latest attempt at each, by key: one look-up."""
        query = f"SELECT {RULING_COLUMNS} FROM verdicts WHERE prompt_id = ? AND kind = 'pairwise' ORDER BY id"  # noqa: S608
        return rulings_by_key(self._reader.execute(query, (prompt_id,)))

    def rulings(self, keys: Sequence[str]) -> dict[str, Ruling]:
        """What verdicts decided, the latest attempt at each, by key; keys without a row are left out."""
        query = f"SELECT {RULING_COLUMNS} FROM verdicts WHERE key IN ({{}}) ORDER BY id"  # noqa: S608
        return rulings_by_key(self._of_keys(query, keys))

    def words(self, keys: Sequence[str]) -> dict[str, str]:
        """A judge's whole text in some verdicts, the latest attempt at each, by key."""
        rows = self._of_keys("SELECT key, raw FROM verdicts WHERE key IN ({}) ORDER BY id", keys)
        return {key: from_stored(raw) for key, raw in rows}

    def attempts(self, keys: Sequence[str]) -> Counter[str]:
        """How many attempts at each of some judge calls are stored, by key."""
        found: Counter[str] = Counter()
        for table in _JUDGED:
            query = f"SELECT key, COUNT(*) FROM {table} WHERE key IN ({{}}) GROUP BY key"  # noqa: S608
            found.update(dict(self._of_keys(query, keys)))
        return found

    def statuses(self, keys: Sequence[str]) -> dict[str, Status]:
        """How the latest attempts at some judge calls ended, by key; keys without a row are left out."""
        found: dict[str, Status] = {}
        for table in _JUDGED:
            rows = self._of_keys(f"SELECT key, status FROM {table} WHERE key IN ({{}}) ORDER BY id", keys)  # noqa: S608
            found.update((key, STATUSES[status]) for key, status in rows)
        return found

    def judgements_of(self, prompt_id: str) -> dict[str, Judgement]:
        """All judgements of answers to a prompt, the latest attempt at each, by key."""
        query = f"SELECT {COLUMNS[Judgement]} FROM judgements WHERE prompt_id = ? ORDER BY id"  # noqa: S608
        records = (record_of(Judgement, row) for row in self._reader.execute(query, (prompt_id,)))
        return {record.key: record for record in records}

    def judged_calls(self, judge_hash: str, limit: int) -> list[JudgedCall]:
        """Up to `limit` first samples of a judge among the latest verdicts on answers, or judgements of one, by key."""
        found: list[JudgedCall] = []
        for table, seats, kind in _JUDGED_CALLS:
            query = f"""SELECT prompt_id, tokens_in, tokens_out, {_CHARGED}, {seats}
                FROM (SELECT * FROM {table} ORDER BY id DESC LIMIT {_RECENT})
                WHERE judge_hash = ? AND sample = 0 AND tokens_in > 0 AND tokens_out IS NOT NULL {kind}
                ORDER BY key LIMIT ?"""  # noqa: S608
            for prompt_id, tokens_in, tokens_out, usd, *hashes in self._reader.execute(query, (judge_hash, limit)):
                texts = tuple(text_hash for text_hash in hashes if text_hash)  # of a prompt by itself there is none
                found.append(JudgedCall(prompt_id, texts, tokens_in, tokens_out, usd))
        return found

    # ------------------------------------------------------------------ keys

    def keys_like(self, prefix: str, limit: int) -> list[tuple[str, str]]:
        """(kind, key) of up to `limit` keys of each kind that begin so: of prompts, answers, verdicts and judgements.

        The kinds are ``prompt``, ``response``, ``verdict`` and ``judgement``; each is one look-up in an index.
        """
        found: list[tuple[str, str]] = []
        for kind, table, column in _KEYED:
            query = f"SELECT DISTINCT {column} FROM {table} WHERE {column} >= ? AND {column} < ? LIMIT ?"  # noqa: S608
            rows = self._reader.execute(query, (prefix, prefix + "\U0010ffff", limit))
            found += [(kind, str(key)) for (key,) in rows]
        return found

    def prompts_called(self, own: str, limit: int) -> list[str]:
        """Ids of up to `limit` prompts that their own file called so (`Prompt.question_id`); it reads them all."""
        rows = self._reader.execute("SELECT * FROM prompts WHERE instr(tags, '\"source_id\":') ORDER BY id")
        called = (one.id for one in map(prompt_of, rows) if one.question_id is not None and str(one.question_id) == own)
        return list(islice(called, limit))

    def keys_beside(self, word: str) -> list[str]:
        """The keys that stand right before and behind a word in the order of each kind's."""
        found: list[str] = []
        for _, table, column in _KEYED:
            for order, sign in (("", ">="), ("DESC", "<")):
                query = f"SELECT {column} FROM {table} WHERE {column} {sign} ? ORDER BY {column} {order} LIMIT 1"  # noqa: S608
                found += [str(key) for (key,) in self._reader.execute(query, (word,))]
        return found

    def answer_turns(self, key: str) -> list[AnswerTurn]:
        """All attempts at all turns of an answer, in the order in which they came; empty where there is no such key."""
        columns = ", ".join(AnswerTurn._fields)
        query = f"SELECT {columns} FROM responses WHERE key = ? ORDER BY id"  # noqa: S608
        return [AnswerTurn(*map(from_stored, row)) for row in self._reader.execute(query, (key,))]

    def sizes(self) -> dict[str, int]:
        """How many rows there are of each kind of keys; attempts at one and the same count each."""
        tables = {f"{kind}s": table for kind, table, _ in _KEYED}
        return {
            kind: self._reader.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]  # noqa: S608
            for kind, table in tables.items()
        }

    # ------------------------------------------------------------------ all calls

    @property
    def identity(self) -> str:
        """What tells this arena file from any other, wherever it is copied to."""
        return identity(self._reader)

    @property
    def blank(self) -> bool:
        """Whether nothing was ever stored here."""
        return not any(self._holds(table) for table in ("prompts", "responses", *_JUDGED, "stages"))

    def ends(self) -> dict[str, int | None]:
        """Where the tables of answers and verdicts end: what was complete is so while nothing is appended.

        What a judge is shown is no table's end: how often reference answers came to prompts that were there is with
        them, once any did.
        """
        tables = ("responses", "verdicts")
        ends = {table: self._reader.execute(f"SELECT MAX(id) FROM {table}").fetchone()[0] for table in tables}  # noqa: S608
        changed = self.note(REFERENCES, "changed")
        return ends if changed is None else {**ends, REFERENCES: changed}

    def other_references(self, rows: Iterable[Row]) -> int:
        """How many prompts are stored already and lack what these rows' tags hold, a reference answer among it."""
        referred = [(row[0], row[3]) for row in rows if '"reference":' in row[3]]
        found = 0
        for at in range(0, len(referred), _PROMPTS_AT_ONCE):
            told = dict(referred[at : at + _PROMPTS_AT_ONCE])
            stored = self._reader.execute(f"SELECT id, tags FROM prompts WHERE id IN ({marks(told)})", [*told])  # noqa: S608
            found += sum(told[prompt_id] != tags for prompt_id, tags in stored)
        return found

    def usage(self) -> Usage:
        """Calls, tokens, money and wall time of all invocations so far; what was cut off has been sent, and counts."""
        answered: Counter[int] = Counter()
        usage = self._usage_of(("responses", *_JUDGED), answered=answered)
        cut_off, lost, unpriced = self._cut_off(answered)
        return usage._replace(
            calls=usage.calls + cut_off,
            usd=None if usage.usd is None or unpriced else usage.usd + lost,
            usd_estimated=usage.usd_estimated + lost,
            calls_cut_off=cut_off,
        )

    def _cut_off(self, answered: Mapping[int, int]) -> tuple[int, float, int]:
        """Requests beyond those that were answered in each invocation: how many, what they cost by an estimate where
        their price is known, and of how many it is not."""
        cut_off, lost, unpriced = 0, 0.0, 0
        for run, calls, unanswered, usd in self._reader.execute("SELECT run, calls, open, usd FROM sent"):
            if (missing := calls - answered.get(run, 0)) > 0:
                cut_off += missing
                lost += (usd or 0.0) * missing / max(1, unanswered)
                unpriced += missing if usd is None else 0
        return cut_off, lost, unpriced

    def _usage_of(
        self,
        tables: Iterable[str],
        where: str = "1",
        values: Sequence[object] = (),
        *,
        answered: Counter[int] | None = None,
    ) -> Usage:
        """Of the rows of some tables; `answered` is given the calls of each invocation."""
        calls = tokens_in = tokens_out = 0
        usd: float | None = 0.0
        estimated = 0.0
        spans: dict[int, tuple[float, float]] = {}
        for table in tables:
            query = f"""SELECT run, SUM(calls), SUM(COALESCE(tokens_in, 0)), SUM(COALESCE(tokens_out, 0)),
                SUM(usd), SUM(usd IS NULL), SUM(usd_estimated), MIN(at - COALESCE(seconds, 0)), MAX(at), {_ENDS}
                FROM {table} WHERE calls != 0 AND {where} GROUP BY run"""  # noqa: S608
            for run, n, t_in, t_out, cost, unknown, guessed, first, last, *ends in self._reader.execute(query, values):
                if any(isinstance(end, str | bytes) or (end is not None and end < 0) for end in ends):
                    raise UnreadableRowError(f"the table {table} holds calls, tokens, prices or times that cannot be")
                calls, tokens_in, tokens_out = calls + n, tokens_in + t_in, tokens_out + t_out
                usd = None if usd is None or unknown else usd + (cost or 0.0)
                estimated += guessed
                old = spans.get(run, (first, last))
                spans[run] = (min(old[0], first), max(old[1], last))
                if answered is not None:
                    answered[run] += n
        return Usage(calls, tokens_in, tokens_out, usd, sum(last - first for first, last in spans.values()), estimated)

    # ------------------------------------------------------------------ look-ups

    def _holds(self, table: str) -> bool:
        return self._reader.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608

    def _of_keys(self, query: str, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Rows of a query whose braces take the marks of as many keys as one look-up may have."""
        for start in range(0, len(keys), _IN_BATCH):
            some = keys[start : start + _IN_BATCH]
            # `yield from` would close the cursor too, of a file that is closed by then
            for row in self._reader.execute(query.format(marks(some)), some):  # noqa: UP028
                yield row


_COUNTS = ("calls", "tokens_in", "tokens_out", "usd", "usd_estimated", "seconds", "at")
# the least and the greatest, which would be a text: texts come after all numbers
_ENDS = ", ".join(f"MIN({name}), MAX({name})" for name in _COUNTS)
_BATTLING = "status IN ('ok', 'truncated', 'empty')"


def marks(values: Collection[object]) -> str:
    """Question marks for as many values of an ``IN (…)``."""
    return ",".join("?" * len(values))
