"""Rewards that have to be asked for: judges, whose verdicts are kept, and a server of scores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from arenaloop.errors import ConfigError, EndpointDownError, StoppedError, nearest
from arenaloop.models.reward import Reward
from arenaloop.specs.opponents import Opponents, judge_settings
from arenaloop.types import Message, Prompt, Response, content_hash

if TYPE_CHECKING:
    import aiohttp

    from arenaloop.calls.budget import Budget
    from arenaloop.config import JudgeSettings
    from arenaloop.store import Store

__all__ = ["Scores", "battled", "judged", "served"]

Scores = Sequence[float | None]
"""Of answers; None where there is no score."""

# ---------------------------------------------------------------------- judges


class _Kept:
    """An arena file that a judge's verdicts are kept in, and what they may cost.

    Args:
        judge: who is asked.
        settings: its own.
        arena: the file, made where it is not there; or the file as it is open.
        budget: what verdicts may cost; None is no limit.

    Raises:
        ConfigError: the budget is in dollars, and the judge's price is not known.
    """

    def __init__(self, judge: Any, settings: JudgeSettings, arena: Path | Store, budget: Budget | None) -> None:
        from arenaloop.calls.budget import Budget, require_prices

        self._judge, self._settings, self._arena = judge, settings, arena
        self._budget = budget or Budget()
        self._model = getattr(judge, "model", None)
        require_prices(self._budget, [] if self._model is None else [self._model])

    def ask(self, questions: Sequence[tuple[Prompt, *tuple[Response, ...]]]) -> list[Any]:
        """The verdict or judgement on each question, asked where it is not stored; None where there is none.

        Raises:
            StoppedError: the budget is spent, or a server is down. What was stored stays.
        """
        from arenaloop.store import Store

        if isinstance(self._arena, Store):
            return self._asked(self._arena, questions)
        fresh = not self._arena.exists()
        self._arena.parent.mkdir(parents=True, exist_ok=True)
        try:
            with Store(self._arena) as store:
                return self._asked(store, questions)
        except EndpointDownError:
            if fresh:  # nothing was paid
                _forget(self._arena)
            raise

    def _asked(self, store: Store, questions: Sequence[tuple[Prompt, *tuple[Response, ...]]]) -> list[Any]:
        from arenaloop.calls.judging import AskedJudge, InStore, JudgeUnit, decide
        from arenaloop.calls.reask import final
        from arenaloop.models.base import ChunkedModel

        reask, several = self._settings.reask, len(questions[0]) > 2 if questions else False
        store.add_prompts([prompt for prompt, *_ in questions])
        look = store.verdict if several else store.judgement
        asked, statuses = AskedJudge(self._judge, store.secret, reask=reask), InStore(look)
        units = [JudgeUnit(asked, question, statuses) for question in questions]
        # a model on this machine stays loaded
        closing = [] if isinstance(self._model, ChunkedModel) else [self._judge]
        limit = self._settings.concurrency
        decide(lambda: iter(units), store, concurrency=limit, budget=self._budget, closing=closing)
        store.flush()

        def found(unit: JudgeUnit) -> Any:
            return final(lambda sample: look(unit.key(sample)), reask)

        return [found(unit) for unit in units]


def _forget(arena: Path) -> None:
    """Take away the arena file that was made for nothing, and the directory if it holds nothing else."""
    for suffix in ("", "-wal", "-shm", "-journal", ".lock"):
        arena.with_name(f"{arena.name}{suffix}").unlink(missing_ok=True)
    with suppress(OSError):
        arena.parent.rmdir()


def _place(spec: str, arena: Path | Store | None) -> Path | Store:
    if arena is None:
        raise ConfigError(
            f"reward {spec!r}: a judge's verdicts are kept beside a training or a file of samples, and "
            "here is no place for them: take a reward that is not paid for"
        )
    return arena


def judged(spec: str, file: str, arena: Path | Store | None, budget: Budget | None = None) -> Reward:
    """A judging model that scores one answer by its template, from its YAML file.

    Verdicts are kept in an arena file and each is paid once, whoever asks again. One that cannot be read is asked again
    as the judge's settings say, and then is no score.

    Args:
        spec: for errors.
        file: the judge's settings.
        arena: where its verdicts are kept; made where it is not there, unless it is given open.
        budget: what they may cost.

    Raises:
        ConfigError: there is no place for verdicts, or the judge scores no single answer.
    """
    from arenaloop.specs.judges import pointwise

    place, settings = _place(spec, arena), judge_settings(spec, file)
    judge = pointwise(settings)
    kept = _Kept(judge, settings, place, budget)

    def score(prompts: Sequence[list[Message]], answers: Sequence[str]) -> Scores:
        shown = [Prompt(tuple(messages)) for messages in prompts]
        rows = kept.ask([(p, Response(p.id, "policy", (said,))) for p, said in zip(shown, answers, strict=True)])
        return [None if row is None else row.score for row in rows]

    return Reward(score, content_hash("judge", judge.fingerprint, settings.reask))


def battled(spec: str, rest: str, arena: Path | Store | None, budget: Budget | None = None) -> Reward:
    """Battles against stored answers: ``JUDGE.yaml#ANSWERS.jsonl``, or several files of answers with commas between.

    An answer's score is its mean lead over the stored ones to its prompt, in the judge's units, each battle decided
    from both seats and merged by their mean scores. Verdicts are kept as those of `judged`; a battle without both
    counts nowhere.

    Raises:
        ConfigError: there is no place for verdicts, or no judge of pairs or no answers are named.
        InputError: a file of answers cannot be read.
    """
    from arenaloop.judges.leads import both_seats, mean_lead

    against = Opponents.read(spec, rest)
    kept = _Kept(against.judge, against.settings, _place(spec, arena), budget)

    def score(prompts: Sequence[list[Message]], answers: Sequence[str]) -> Scores:
        shown = [Prompt(tuple(messages)) for messages in prompts]
        seatings = [
            both_seats(prompt, Response(prompt.id, "policy", (said,)), against.of(prompt))
            for prompt, said in zip(shown, answers, strict=True)
        ]
        rows = iter(kept.ask([seated for some in seatings for seated in some]))
        return [mean_lead([next(rows) for _ in some]) for some in seatings]

    def probe() -> None:  # a battle of its own, since no stored answer is to its prompt
        hello = Prompt.of("Say hello.")
        policy, stored = Response(hello.id, "policy", ("Hello.",)), Response(hello.id, "stored", ("Hi.",))
        kept.ask(both_seats(hello, policy, [stored]))

    return Reward(score, against.identity, probe)


# ---------------------------------------------------------------------- servers

AT_ONCE = 32
"""Answers of one request to a server of scores."""
IN_FLIGHT = 8
"""Requests to it at once."""
SECONDS = 120.0
"""Within which it has to answer one."""
TRIES = 3
"""Of each request, where the fault may pass."""
PAUSE = 1.0
"""Seconds before the second try; each further pause is twice as long."""


def served(spec: str) -> Reward:
    """A server of scores: it gets ``{"prompts", "answers"}`` by POST, and says ``{"scores": [number or null, …]}``.

    A SPEC ends with ``#key_env=NAME`` where a key is to be sent, as a bearer token: what this variable holds.

    Raises:
        ConfigError: a SPEC that holds more, or a key that is not set.
    """
    from arenaloop.models.secrets import read_key
    from arenaloop.specs.models import refuse_queries

    url, _, query = spec.partition("#")
    refuse_queries(url, "")
    options = dict(parse_qsl(query, keep_blank_values=True))
    name = options.pop("key_env", None)
    if options or (query and name is None):
        unknown = min(options, default=query)
        raise ConfigError(f"reward {url}: unknown option {unknown!r}{nearest(unknown, ['key_env'])}; known: key_env")
    if not url.partition("://")[2]:
        raise ConfigError(f"reward {spec!r}: expected http://HOST:PORT/PATH")
    server = _Server(url, read_key(name))

    def score(prompts: Sequence[list[Message]], answers: Sequence[str]) -> Scores:
        return asyncio.run(server.scores(prompts, answers))

    return Reward(score, content_hash("http", url))


class _Server:
    """A server of scores, and the key that it is sent."""

    def __init__(self, url: str, key: str | None) -> None:
        from arenaloop.models.secrets import Redactor

        self.url, self._key, self._redactor = url, key, Redactor(key)

    async def scores(self, prompts: Sequence[list[Message]], answers: Sequence[str]) -> list[float | None]:
        """The scores of all answers, asked for in parts.

        Raises:
            EndpointDownError: it is not there, or goes on failing.
            StoppedError: it refuses, or what it says are no scores.
        """
        import aiohttp

        headers = {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
        limit, timeout = asyncio.Semaphore(IN_FLIGHT), aiohttp.ClientTimeout(total=SECONDS)

        async def part(start: int) -> list[float | None]:
            some = slice(start, start + AT_ONCE)
            body = {"prompts": [list(map(dict, each)) for each in prompts[some]], "answers": list(answers[some])}
            async with limit:
                return await self._asked(session, json.dumps(body).encode(), len(answers[some]))

        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, cookie_jar=jar) as session:
            parts = await asyncio.gather(*(part(start) for start in range(0, len(answers), AT_ONCE)))
        return [score for some in parts for score in some]

    async def _asked(self, session: aiohttp.ClientSession, body: bytes, count: int) -> list[float | None]:
        """One request, tried again where the fault may pass."""
        import aiohttp

        from arenaloop.models.bounded import whole
        from arenaloop.models.openai_errors import http_fault, may_pass
        from arenaloop.models.server_url import proxy_of

        reason = ""
        for tried in range(TRIES):
            await asyncio.sleep(PAUSE * 2 ** (tried - 1) if tried else 0)
            try:
                async with session.post(
                    self.url,
                    data=body,
                    headers={"Content-Type": "application/json"},
                    allow_redirects=False,  # a redirected POST would become a GET, and take the key along
                    proxy=proxy_of(self.url),
                ) as reply:
                    raw = await whole(reply)
                    if reply.status == 200:
                        return self._read(raw, reply.headers, count)
                    fault = http_fault(reply.status, reply.headers, raw)
            except TimeoutError:
                reason = f"no answer within {SECONDS:g} s"
                continue
            except (aiohttp.ClientError, OSError) as error:
                reason = f"{type(error).__name__}: {error}"
                continue
            reason = fault.reason
            if not may_pass(fault.status):
                raise StoppedError(self._says(reason))
        raise EndpointDownError(self._says(f"{reason} ({TRIES} tries)"))

    def _read(self, raw: bytes, headers: Any, count: int) -> list[float | None]:
        from arenaloop.models.openai_errors import body_in_words

        try:
            told = json.loads(raw)
        except (ValueError, RecursionError):
            raise StoppedError(self._says(body_in_words(raw, headers))) from None
        scores = told.get("scores") if isinstance(told, dict) else None
        if not isinstance(scores, list):
            found = ", ".join(map(str, list(told)[:8])) if isinstance(told, dict) else type(told).__name__
            raise StoppedError(self._says(f"a reply without a list of scores (found: {found or 'nothing'})"))
        if len(scores) != count:
            raise StoppedError(self._says(f"{len(scores)} scores for {count} answers"))
        if wrong := [each for each in scores if type(each) not in (int, float, type(None))]:
            raise StoppedError(self._says(f"gave {wrong[0]!r}, which is neither a number nor null"))
        return [None if each is None else float(each) for each in scores]

    def _says(self, reason: str) -> str:
        return f"reward {self._redactor.line(self.url)}: {self._redactor.line(reason)}"
