"""Judging through batches: write, submit, poll, ingest; killed anywhere, the same command goes on.

The units that are missing are written into request files, and each file becomes a batch on the judge's server, or is
left in a folder for somebody to carry. How each batch stands is a note of the arena file, committed before the next
step is taken, so that nothing is submitted twice: a batch whose making was cut off is looked for in the server's list
before it is made. Results enter the arena file as those of live calls do, at the batch's price; what has no result is
recorded with the reason.

One round of judging (`Round`) is all batches that are not closed. Garbage is asked again in a further batch, warmer,
and errors once more; then the round is closed, and the next run asks again what failed, as every run does.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

from arenaloop.calls.batch.requests import Line, RequestFile, missing, server_of, unit_of_line, write_again, write_files
from arenaloop.calls.batch.results import charged, file_lines, results, usd_most
from arenaloop.calls.batch.state import REQUESTS, STATE, WAITING, batch_rows, open_batches
from arenaloop.calls.budget import unpriced
from arenaloop.calls.judging import AskedJudge, JudgeUnit, stored_verdicts
from arenaloop.calls.progress import Tally
from arenaloop.calls.run import MAX_BACKLOG, RECALLED
from arenaloop.config import BatchSettings
from arenaloop.errors import BudgetSpentError, StoppedError
from arenaloop.jsonl import JsonRow
from arenaloop.models.batch_lines import Batch
from arenaloop.models.charge import Charge
from arenaloop.models.openai_batch import BatchEndpoint, UnknownBatchError
from arenaloop.store import Store
from arenaloop.terminal import counted, plain
from arenaloop.types import Completion, Message, Status

__all__ = ["DEFAULT_SLEEP", "Round"]

DEFAULT_SLEEP: Callable[[float], Awaitable[object]] = asyncio.sleep


class Round:
    """All batches of one round of judging, from the first file written to the last verdict stored.

    Args:
        units: makes everything that is wanted; None stands for what cannot be asked, because an answer is missing.
        folder: where request files stand until their results are in (`settings.folder` wins).
        settings: limits, waiting, and what becomes of the rest.
        tally: counts along; a request is written only if it fits its budget even where its answer is as long as it
            may be.
        say: is given one line for each thing that happens to a batch.
        sleep: how to wait.

    Attributes:
        left: units without an outcome when the batches were done.

    Raises:
        ConfigError: a judge whose calls cannot stand in a batch file.
    """

    def __init__(
        self,
        judges: Sequence[AskedJudge],
        units: Callable[[], Iterable[JudgeUnit | None]],
        store: Store,
        folder: Path,
        settings: BatchSettings,
        tally: Tally,
        say: Callable[[str], object],
        sleep: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self.units, self.store, self.settings, self.tally = units, store, settings, tally
        self.folder = Path(settings.folder) if settings.folder else folder
        self.sleep = sleep or DEFAULT_SLEEP
        self.say: Callable[[str], object] = lambda line: say(plain(line))  # a server's words may stand in it
        self.judges: dict[str, list[AskedJudge]] = {}  # votes of one judge share its fingerprint, and its batches
        for asked in judges:
            self.judges.setdefault(asked.judge.fingerprint, []).append(asked)
        for asked in judges:
            asked.recall(stored_verdicts(asked, store, RECALLED))
        self.servers = {asked.judge.fingerprint: server_of(asked) for asked in judges}
        self.endpoints: dict[str, BatchEndpoint] = {}
        self.numbers = sum(1 for _ in batch_rows(store))
        self.rows = open_batches(store, [asked.judge for asked in judges])
        if others := len(open_batches(store)) - len(self.rows):
            say(f"{counted(others, 'batch')} of a judge with other settings not collected; left as they are")
        if waiting := self._waiting():
            ordered = sum(self.rows[tag]["requests"] for tag in waiting)
            say(f"{ordered:,} verdicts are on their way in {counted(len(waiting), 'batch')}")
        self.collected = self.left = 0
        self.ordered_calls, self.ordered_usd, self.refusal = 0, 0.0, ""
        self._shown: dict[str, str] = {}

    # ------------------------------------------------------------------ the round

    async def run(self, on_progress: Callable[[Tally], None] | None) -> None:
        """Ask, wait and collect until nothing is on its way, then close the endpoints.

        Raises:
            StoppedError: the budget is spent; batches are on their way and are not waited for; one failed whole; a
                server is down.
        """
        try:
            await self._run(on_progress)
        finally:
            for endpoint in self.endpoints.values():
                await endpoint.aclose()
            self.store.put_sent()
            self.store.flush()

    async def _run(self, on_progress: Callable[[Tally], None] | None) -> None:
        while True:
            waiting = self._waiting()
            collected = any(row["state"] == "collected" for row in self.rows.values())
            if not (collected and self.settings.rest == "live"):
                await self._write()
            for tag in self._waiting():
                await self._submit(tag)
            if self.refusal and not self._waiting():
                raise BudgetSpentError(
                    f"the budget is spent ({self.refusal}); with a higher budget the same command goes on"
                )
            if not self._waiting():
                self._count(waiting=bool(waiting))
                return
            await self._wait(on_progress)
            if self.settings.rest == "live":
                self._count(waiting=True)
                return

    def _waiting(self) -> list[str]:
        """Batches that are written, uploaded or submitted, and not collected."""
        return [tag for tag, row in self.rows.items() if row["state"] in WAITING]

    def _count(self, *, waiting: bool) -> None:
        """Bring the tally to what the arena file holds, now that no batch is on its way."""
        settled: Counter[str] = Counter()
        left = sum(1 for _ in missing(self.units(), self.store, (), self._asked(), settled))
        self.left = left + settled["failed"]
        self.tally.verdicts = self.tally.verdicts_total
        self.tally.cached = max(0, settled["found"] - self.collected)

    def _asked(self) -> Counter[str]:
        return Counter(key for row in self.rows.values() for key in row.get("failed", ()))

    async def _write(self) -> None:
        """Write what is missing into files; each is known to the arena file before it is submitted."""
        for model in self.servers.values():
            if model.billing.unpriced and self.tally.budget.usd is not None:
                raise StoppedError(unpriced(model.name, model.billing.unpriced))
        ordered = [self.rows[tag] for tag in self._waiting()]
        self.ordered_calls = sum(row["requests"] for row in ordered)
        self.ordered_usd = sum(row["usd_most"] for row in ordered)
        self.refusal = ""
        on_their_way = {line.key for tag in self._waiting() for line in self._requests(tag)}
        files = write_files(
            missing(self.units(), self.store, on_their_way, self._asked(), Counter()),
            self.folder,
            number=self.numbers,
            max_requests=self.settings.max_requests,
            max_bytes=self.settings.max_bytes,
            admit=self._admit,
        )
        for file in files:
            self._register(file)
            await self._submit(file.tag)
        self.numbers = sum(1 for _ in batch_rows(self.store))

    def _admit(self, asked: AskedJudge, size: int) -> bool:
        """Whether one more request fits the budget, whatever the ordered ones may cost."""
        budget = self.tally.budget
        most = usd_most(asked, size)
        refusal = budget.refusal(self.ordered_calls)
        if refusal is None and budget.usd is not None:
            within = budget.spent_usd + self.ordered_usd + most <= budget.usd
            refusal = None if within else f"{budget.money()}, and the next batch may cost more than is left"
        if refusal is not None:
            self.refusal = refusal
            return False
        self.ordered_calls += 1
        self.ordered_usd += most
        return True

    def _register(self, file: RequestFile) -> None:
        judge = file.asked.judge
        self.store.put_note(REQUESTS, file.tag, {"requests": [line.row for line in file.lines]})
        self._put(
            file.tag,
            {
                "state": "written",
                "number": self.numbers,
                "judge": judge.name,
                "judge_hash": judge.fingerprint,
                "server": self.servers[judge.fingerprint].base_url,
                "requests": len(file.lines),
                "bytes": file.size,
                "usd_most": usd_most(file.asked, file.size // len(file.lines)) * len(file.lines),
                "folder": str(self.folder.absolute()) if self.settings.folder else None,
            },
        )
        self.numbers += 1

    def _put(self, tag: str, changes: JsonRow) -> None:
        row = self.rows.get(tag, {}) | changes
        self.store.put_note(STATE, tag, row)
        self.rows[tag] = row

    def _requests(self, tag: str) -> list[Line]:
        note = self.store.note(REQUESTS, tag)
        return [Line.of(row) for row in note["requests"]] if note else []

    def _path(self, tag: str) -> Path:
        folder = self.rows[tag].get("folder")
        return (Path(folder) if folder else self.folder) / f"{tag}.jsonl"

    def _tell(self, tag: str, line: str) -> None:
        if self._shown.get(tag) != line:
            self._shown[tag] = line
            self.say(line)

    # ------------------------------------------------------------------ submit

    async def _submit(self, tag: str) -> None:
        """Take a batch from wherever it stands to submitted; each step is committed before the next is taken."""
        row = self.rows[tag]
        path = self._path(tag)
        if row["state"] == "written" and not path.exists():
            write_again(self.judges[row["judge_hash"]], self._requests(tag), self.store, path)
        if row.get("folder"):
            self._put(tag, {"state": "submitted"})
            return
        endpoint = self._endpoint(row)
        if row["state"] == "written":
            self._put(tag, {"state": "uploaded", "file": await endpoint.upload(path)})
            batch = await endpoint.create(self.rows[tag]["file"], tag)
        elif row["state"] == "uploaded":  # it may have been made when the last invocation ended
            batch = await endpoint.find(row["file"], tag) or await endpoint.create(row["file"], tag)
        else:
            return
        self._put(tag, {"state": "submitted", "batch": batch.id, "from": batch.created_at or time.time()})
        self._tell(tag, f"batch {batch.id}: {row['requests']:,} verdicts submitted to {row['server']}")

    def _endpoint(self, row: JsonRow) -> BatchEndpoint:
        found = self.endpoints.get(row["judge_hash"])
        if found is None:
            model = self.servers[row["judge_hash"]]
            found = self.endpoints[row["judge_hash"]] = BatchEndpoint(
                row["server"],
                model.key_env,
                headers=model.headers,
                timeout=model.timeout,
                retries=model.retries,
                sleep=self.sleep,
                longest_wait=model.longest_wait,
            )
        return found

    # ------------------------------------------------------------------ poll

    async def _wait(self, on_progress: Callable[[Tally], None] | None) -> None:
        """Look at the batches until all are collected; raises StoppedError where none ends within `longest_wait`."""
        pause, waited = self.settings.first_pause, 0.0
        while True:
            waiting = self._waiting()
            done = 0
            for tag in waiting:
                done += await self._look(tag)
            if on_progress:
                on_progress(self.tally)
            waiting = self._waiting()
            if not waiting:
                return
            by_hand = [tag for tag in waiting if self.rows[tag].get("folder")]
            if by_hand:
                raise StoppedError(self._by_hand(by_hand))
            told = ", ".join(self.rows[tag]["batch"] for tag in waiting[:3]) + (", …" if len(waiting) > 3 else "")
            if not self.settings.wait:
                raise StoppedError(f"{counted(len(waiting), 'batch')} not done ({told}); run again to collect")
            if done:
                pause, waited = self.settings.first_pause, 0.0
            elif waited >= self.settings.longest_wait:
                raise StoppedError(
                    f"{counted(len(waiting), 'batch')} not done ({told}), and none has ended for "
                    f"{waited / 3600:.3g} h, which is batch.longest_wait; the same command waits on"
                )
            else:
                pause = min(1.5 * pause, self.settings.longest_pause)
            await self.sleep(pause)
            waited += pause

    def _by_hand(self, tags: list[str]) -> str:
        path = self._path(tags[0])
        results = path.with_suffix(".results.jsonl")
        return (
            f"{counted(len(tags), 'request file')} in {path.parent} without results; put them beside each, as "
            f"{results.name} beside {path.name} (vllm run-batch -i {path.name} -o {results.name} --model …), "
            "and run again"
        )

    async def _look(self, tag: str) -> bool:
        """Collect a batch that has ended; whether it had."""
        row = self.rows[tag]
        if row.get("folder"):
            results = self._path(tag).with_suffix(".results.jsonl")
            if results.exists():
                await self._collect(tag, lambda: [file_lines(results)], "no result in the file", results)
                self._tell(tag, f"{results}: {row['requests']:,} verdicts collected")
            return results.exists()
        endpoint = self._endpoint(row)
        try:
            batch = await endpoint.get(row["batch"])
        except UnknownBatchError as error:
            raise StoppedError(f"{error}; --forget-batches gives it up, and pays for its verdicts again") from None
        if batch.running:
            self._tell(tag, f"batch {batch.id}: {batch.status}, {batch.completed:,} of {row['requests']:,}")
            return False
        if batch.status == "failed" and not batch.output_file and not batch.error_file:
            self._path(tag).unlink(missing_ok=True)
            self._put(tag, {"state": "closed", "reason": batch.reason})  # nothing of it was run: it is made again
            raise StoppedError(f"batch {batch.id} failed: {batch.reason or 'no reason given'}")
        if batch.status == "completed" and batch.completed and not batch.output_file:
            self._tell(tag, f"batch {batch.id}: completed, its results are not there yet")
            return False
        files = [name for name in (batch.output_file, batch.error_file) if name]
        self._put(tag, {"to": batch.ended_at or time.time()})
        no_result = f"batch {batch.status}: no result for this request"
        await self._collect(tag, lambda: [endpoint.lines(name, row["requests"]) for name in files], no_result, batch)
        self._path(tag).unlink(missing_ok=True)
        failed = len(self.rows[tag]["failed"])
        self._tell(tag, f"batch {batch.id}: {batch.status}, {row['requests']:,} collected, {failed:,} without outcome")
        return True

    # ------------------------------------------------------------------ ingest

    async def _collect(
        self, tag: str, download: Callable[[], list[AsyncGenerator[bytes, None]]], no_result: str, source: Batch | Path
    ) -> None:
        """Store the verdicts of a batch; what has no result is recorded with the reason."""
        row = self.rows[tag]
        judges, model = self.judges[row["judge_hash"]], self.servers[row["judge_hash"]]
        wanted = {line.key: line for line in self._requests(tag)}
        attempts = self.store.attempts(list(wanted))
        done = {key for key, count in attempts.items() if count > wanted[key].before}  # stored already

        def asked(key: str) -> Sequence[Message] | None:
            line = wanted.get(key)
            return None if line is None else unit_of_line(judges, line, self.store).request(line.sample).messages

        found = results(
            source,
            download,
            wanted,
            done,
            model,
            asked,
            sleep=self.sleep,
            longest_pause=self.settings.longest_pause,
            say=self.say,
        )
        async with aclosing(found):
            async for key, completion, charge in found:
                await self._keep(judges, wanted[key], completion, charge)
        free = None if model.price is None else 0.0
        for key, line in wanted.items():
            if key not in done:
                await self._keep(judges, line, Completion(status=Status.ERROR, error=no_result, usd=free, calls=0))
        self.store.flush()
        failed = [key for key, status in self.store.statuses(list(wanted)).items() if status is not Status.OK]
        self._put(tag, {"state": "collected", "failed": failed})
        self.tally.failed += len(failed)

    async def _keep(
        self, judges: Sequence[AskedJudge], line: Line, completion: Completion, charge: Charge | None = None
    ) -> None:
        unit = unit_of_line(judges, line, self.store)
        if completion.status is Status.ERROR and unit.request(line.sample).top_logprobs:
            self.servers[unit.asked.judge.fingerprint].gives_fewer(400, completion.error or "")  # of the next batch
        record = unit.read(charged(unit, line, completion, charge), line.sample)
        unit.keep(self.store, [(unit, record)])
        self.collected += record.status is Status.OK
        self.store.sent.calls += record.calls
        self.tally.spent(record.calls, record.usd, record.usd_estimated)
        self.tally.budget.spend(record.calls, record.usd, record.usd_estimated)
        while self.store.backlog > MAX_BACKLOG:
            await self.sleep(0.01)

    def close(self) -> None:
        """End the round: what failed in it is asked again by the next run."""
        for tag, row in list(self.rows.items()):
            if row["state"] == "collected":
                self._put(tag, {"state": "closed"})
        if not self.settings.folder:
            with suppress(OSError):  # other files may lie there
                self.folder.rmdir()
