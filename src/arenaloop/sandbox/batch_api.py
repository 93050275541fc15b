"""The small world's Batch API: ``/v1/files`` and ``/v1/batches`` as OpenAI has them, so that batches can be tried.

A batch is run when it is looked at for the second time; its results come in another order than its requests. Files and
batches live as long as the server.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable

from aiohttp import web

from arenaloop.jsonl import JsonRow

__all__ = ["BatchApi"]


class BatchApi:
    """Files and batches of one server; tests override how a batch goes.

    Attributes:
        looks: how often a batch is found in progress before it is run.
        end: the status in which batches end.
        heard: request lines that were run, in order.
    """

    looks = 1
    end = "completed"

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, JsonRow] = {}
        self.heard: list[JsonRow] = []
        self._numbers = itertools.count(1)
        self._looked: dict[str, int] = {}
        self._answer: Callable[[bytes], web.Response] = lambda raw: web.Response(status=500, body=b"{}")

    def add_routes(self, app: web.Application, answer: Callable[[bytes], web.Response]) -> None:
        """Offer the routes; `answer` is what a chat-completions body is answered with."""
        self._answer = answer
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files/{id}/content", self._content)
        app.router.add_post("/v1/batches", self._create)
        app.router.add_get("/v1/batches", self._list)
        app.router.add_get("/v1/batches/{id}", self._get)

    def result(self, request: JsonRow) -> tuple[JsonRow | None, JsonRow | None]:
        """Response and error of one request line."""
        reply = self._answer(json.dumps(request["body"]).encode())
        assert isinstance(reply.body, bytes)
        number = next(self._numbers)
        return {"status_code": reply.status, "request_id": f"req-{number}", "body": json.loads(reply.body)}, None

    def run(self, batch: JsonRow) -> None:
        """Run a batch to its end."""
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        answers: list[JsonRow] = []
        errors: list[JsonRow] = []
        for line in lines:
            self.heard.append(line)
            response, error = self.result(line)
            row = {"id": f"batch_req-{next(self._numbers)}", "custom_id": line["custom_id"]}
            fine = response is not None and response["status_code"] == 200
            (answers if fine else errors).append(row | {"response": response, "error": error})
        for name, rows in (("output_file_id", answers), ("error_file_id", errors)):
            random.Random(len(rows)).shuffle(rows)
            if rows:
                batch[name] = self.keep(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
        batch["request_counts"] = {"total": len(lines), "completed": len(answers), "failed": len(errors)}
        batch |= {"status": self.end, f"{self.end}_at": int(time.time())}

    def keep(self, content: bytes) -> str:
        """Keep a file; returns its id."""
        name = f"file-{next(self._numbers)}"
        self.files[name] = content
        return name

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form.get("file")
        if form.get("purpose") != "batch" or not isinstance(file, web.FileField):
            return _error(400, "expected a form with purpose=batch and a file")
        content = file.file.read()
        name = self.keep(content)
        row = {"id": name, "object": "file", "bytes": len(content), "filename": file.filename, "purpose": "batch"}
        return web.json_response(row)

    async def _content(self, request: web.Request) -> web.Response:
        content = self.files.get(request.match_info["id"])
        if content is None:
            return _error(404, "no such file")
        return web.Response(body=content, content_type="application/octet-stream")

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked.get("input_file_id") not in self.files:
            return _error(400, "no such input_file_id")
        if asked.get("endpoint") != "/v1/chat/completions" or asked.get("completion_window") != "24h":
            return _error(400, "endpoint is /v1/chat/completions, completion_window is 24h")
        name = f"batch_{next(self._numbers)}"
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": asked["endpoint"],
            "errors": None,
            "input_file_id": asked["input_file_id"],
            "completion_window": asked["completion_window"],
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": int(time.time()),
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": asked.get("metadata"),
        }
        return web.json_response(self.batches[name])

    async def _list(self, request: web.Request) -> web.Response:
        rows = list(reversed(self.batches.values()))
        after = request.query.get("after")
        start = next((n for n, row in enumerate(rows, 1) if row["id"] == after), 0) if after else 0
        page = rows[start : start + int(request.query.get("limit", "20"))]
        more = start + len(page) < len(rows)
        last = page[-1]["id"] if page else None
        return web.json_response({"object": "list", "data": page, "last_id": last, "has_more": more})

    async def _get(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return _error(404, "no such batch")
        looked = self._looked[batch["id"]] = self._looked.get(batch["id"], 0) + 1
        if batch["status"] in ("validating", "in_progress"):
            if looked > self.looks:
                self.run(batch)
            else:
                batch["status"] = "in_progress"
        return web.json_response(batch)


def _error(status: int, what: str) -> web.Response:
    return web.json_response({"error": {"message": what, "type": "invalid_request_error"}}, status=status)
