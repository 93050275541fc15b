"""Rewards that are asked for: a judge's verdicts are paid once; a server of scores answers, or it is said why not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from arenaloop.calls.budget import Budget
from arenaloop.errors import ArenaloopError, BudgetSpentError, ConfigError, EndpointDownError, InputError, StoppedError
from arenaloop.specs import asked_rewards
from arenaloop.specs.rewards import tried as reward
from arenaloop.store import Store
from arenaloop.types import Message

ASK: list[Message] = [{"role": "user", "content": "reverse: abc"}]


class Scores:
    """A loopback server; `answer` maps a request's body to what is sent, as JSON, bytes, or a status and headers."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], Any] = lambda body: {"scores": [float(len(a)) for a in body["answers"]]}
        self.heard: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.closing = threading.Event()
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                served.heard.append(body)
                served.keys.append(self.headers["Authorization"])
                said = served.answer(body)
                if said is None:
                    served.closing.wait()
                    return
                status, headers, said = said if isinstance(said, tuple) else (200, {}, said)
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/score"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scores]:
    monkeypatch.setattr(asked_rewards, "PAUSE", 0.0)
    served = Scores()
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.closing.set()
    served.server.shutdown()
    thread.join()
    served.server.server_close()


def test_a_server_scores_in_parts_and_in_order(server: Scores) -> None:
    scored = reward(server.url)
    assert server.heard == [{"prompts": [[{"role": "user", "content": "Say hello."}]], "answers": ["Hello."]}]
    answers = ["x" * n for n in range(100)]
    assert scored.score([ASK] * 100, answers) == [float(n) for n in range(100)]
    assert sorted(len(body["answers"]) for body in server.heard[1:]) == [4, 32, 32, 32]
    assert server.keys == [None] * 5
    server.answer = lambda body: b'{"scores": [null, NaN, 2]}'
    none, nan, two = scored.score([ASK] * 3, ["a", "b", "c"])
    assert (none, two) == (None, 2.0)
    assert nan != nan


def test_its_key_comes_from_the_environment_and_is_not_shown(server: Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-Very-Secret_0123456789")
    scored = reward(f"{server.url}#key_env=MY_KEY")
    assert server.keys == ["Bearer sk-Very-Secret_0123456789"]
    assert scored.identity == reward(server.url).identity
    server.answer = lambda body: (401, {}, {"error": {"message": "wrong key sk-Very-Secret_0123456789"}})
    with pytest.raises(StoppedError, match="HTTP 401: wrong key") as refused:
        scored.score([ASK], ["a"])
    assert "Secret" not in str(refused.value)


def test_a_fault_that_passes_is_tried_again_and_one_that_stays_stops(server: Scores) -> None:
    scored = reward(server.url)
    faults: list[Any] = [(503, {}, {"error": "busy"}), (429, {}, {"error": "slow down"})]
    well = server.answer
    server.answer = lambda body: faults.pop() if faults else well(body)
    assert scored.score([ASK], ["abc"]) == [3.0]
    server.answer = lambda body: (503, {}, {"error": "busy"})
    asked = len(server.heard)
    with pytest.raises(EndpointDownError, match=r"HTTP 503: busy \(3 tries\)"):
        scored.score([ASK], ["abc"])
    assert len(server.heard) == asked + 3


def test_one_that_does_not_answer_in_time_is_named(server: Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = reward(server.url)
    monkeypatch.setattr(asked_rewards, "SECONDS", 0.05)
    server.answer = lambda body: None
    with pytest.raises(EndpointDownError, match=r"no answer within 0.05 s \(3 tries\)"):
        scored.score([ASK], ["abc"])


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"scores": [1, 2]}, "2 scores for 1 answers"),
        ({"scores": ["good"]}, "gave 'good', which is neither a number nor null"),
        ({"scores": [True]}, "gave True"),
        ({"rewards": [1.0]}, r"without a list of scores \(found: rewards\)"),
        ([1.0], r"without a list of scores \(found: list\)"),
        (b"<html>Bad gateway</html>", "a page of HTML"),
        (b"", "an empty body"),
        ((404, {}, b"nowhere"), "HTTP 404"),
        ((302, {"Location": "https://elsewhere.example/login"}, b""), "redirects to https://elsewhere.example/login"),
    ],
)
def test_what_is_no_score_is_refused_before_anything_else(server: Scores, said: Any, says: str) -> None:
    server.answer = lambda body: said
    with pytest.raises(InputError, match=says):
        reward(server.url)
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("http://127.0.0.1:1/score#model", "unknown option 'model'; known: key_env"),
        ("http://127.0.0.1:1/score#key=secret", r"unknown option 'key' .*known: key_env|unknown option 'key'"),
        ("http://127.0.0.1:1/score#key_env=NOT_SET", "NOT_SET is not set"),
        ("http://127.0.0.1:1/score?token=1", "a base URL has no query"),
        ("http:", "expected http://HOST:PORT/PATH"),
    ],
)
def test_a_spec_of_a_server_that_says_more_is_refused(spec: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        reward(spec)


# ---------------------------------------------------------------------- judges


def judge_file(tmp_path: Path, **more: Any) -> str:
    file = tmp_path / "judge.yaml"
    file.write_text(json.dumps({"spec": "sandbox:judge", **more}))  # JSON is YAML
    return f"judge:{file}"


def test_a_judges_verdicts_are_kept_and_each_is_paid_once(tmp_path: Path) -> None:
    spec, arena = judge_file(tmp_path), tmp_path / "new" / "arena.db"
    scored = reward(spec, arena)
    scores = scored.score([ASK, ASK, ASK], ["cba", "zzz", "cba"])
    assert scores[0] == scores[2]
    assert scores[0] is not None
    with Store(arena, readonly=True) as store:
        asked = store.usage().calls
        assert asked == 3  # one before anything else; equal answers are asked about once
    again = reward(spec, arena)
    assert again.identity == scored.identity
    assert again.score([ASK, ASK], ["cba", "zzz"]) == scores[:2]
    with Store(arena, readonly=True) as store:
        assert store.usage().calls == asked


def test_what_cannot_be_read_is_no_score(tmp_path: Path) -> None:
    spec = judge_file(tmp_path, reask=0, options={"unparsed_rate": 1.0})
    assert reward(spec, tmp_path / "arena.db").score([ASK] * 3, ["a", "b", "c"]) == [None] * 3


def test_its_budget_holds_and_what_was_paid_for_stays(tmp_path: Path) -> None:
    spec, arena = judge_file(tmp_path), tmp_path / "arena.db"
    scored = reward(spec, arena, Budget(calls=3))
    with pytest.raises(BudgetSpentError):
        scored.score([ASK] * 4, ["a", "b", "c", "d"])
    with Store(arena, readonly=True) as store:
        assert store.usage().calls == 3
    assert None not in reward(spec, arena, Budget(calls=10)).score([ASK] * 4, ["a", "b", "c", "d"])
    with Store(arena, readonly=True) as store:
        assert store.usage().calls == 5


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"spec": "builtin:longest"}, "scores no single answer"),
        ({"template": "labels"}, "one of layout answer"),
        ({"spec": "http://127.0.0.1:9/v1#m", "best_of_n": {"reward": "sandbox:gold"}}, "a contestant's, not a judge's"),
        ({"temper": 1}, "unknown key 'temper'"),
    ],
)
def test_a_judge_that_scores_no_single_answer_is_refused(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ArenaloopError, match=says):
        reward(judge_file(tmp_path, **settings), tmp_path / "arena.db")


def test_a_judge_needs_a_place_for_its_verdicts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no place for them"):
        reward(judge_file(tmp_path))
    with pytest.raises(ConfigError, match="expected a judge's YAML file"):
        reward("judge:openai:gpt", tmp_path / "arena.db")


# ---------------------------------------------------------------------- battles


def answers_file(tmp_path: Path, name: str, **answers: str) -> Path:
    file = tmp_path / name
    rows = [{"instruction": f"reverse: {asked}", "output": said} for asked, said in answers.items()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_battles_against_stored_answers_give_the_mean_lead_and_are_paid_once(tmp_path: Path) -> None:
    fair = {"noise": 0.0, "seat_bias": 3.0, "length_bias": 0.0}
    spec = judge_file(tmp_path, options=fair).replace("judge:", "battles:", 1)
    good, bad = (answers_file(tmp_path, f"{name}.jsonl", abc=said) for name, said in (("good", "cba"), ("bad", "zzz")))
    arena = tmp_path / "arena.db"
    against_bad, against_good = (reward(f"{spec}#{file}", arena) for file in (bad, good))
    (won,) = against_bad.score([ASK], ["cba"])
    (lost,) = against_good.score([ASK], ["zzz"])
    assert won is not None
    assert won > 2
    assert lost == -won  # both seats: the bias for one of them is gone
    assert against_good.score([ASK], ["cba"]) == [0.0]
    both = reward(f"{spec}#{bad},{good}", arena)
    assert both.score([ASK, ASK], ["cba", "zzz"]) == [won / 2, -won / 2]
    assert len({one.identity for one in (against_bad, against_good, both)}) == 3
    with Store(arena, readonly=True) as store:
        asked = store.usage().calls
    assert asked == 2 + 2 + 1 + 1  # one trial, one pair of texts, and each text against itself
    assert reward(f"{spec}#{bad},{good}", arena).score([ASK], ["cba"]) == [won / 2]
    with Store(arena, readonly=True) as store:
        assert store.usage().calls == asked


def test_battles_that_cannot_be_are_refused(tmp_path: Path) -> None:
    spec = judge_file(tmp_path).replace("judge:", "battles:", 1)
    stored = answers_file(tmp_path, "stored.jsonl", abc="cba")
    with pytest.raises(ConfigError, match=r"expected battles:JUDGE.yaml#ANSWERS.jsonl"):
        reward(spec, tmp_path / "arena.db")
    with pytest.raises(ConfigError, match="no place for them"):
        reward(f"{spec}#{stored}")
    with pytest.raises(InputError, match="absent"):
        reward(f"{spec}#{tmp_path / 'absent.jsonl'}", tmp_path / "arena.db")
    other: list[Message] = [{"role": "user", "content": "reverse: xyz"}]
    with pytest.raises(InputError, match=r"stored.jsonl has no answer to 'reverse: xyz'"):
        reward(f"{spec}#{stored}", tmp_path / "arena.db").score([other], ["a"])
    (tmp_path / "jury.yaml").write_text("jury: [sandbox:judge, builtin:longest]\n")
    with pytest.raises(ConfigError, match="not a jury"):
        reward(f"battles:{tmp_path / 'jury.yaml'}#{stored}", tmp_path / "arena.db")


def test_a_battle_without_both_verdicts_is_no_score(tmp_path: Path) -> None:
    spec = judge_file(tmp_path, reask=0, options={"unparsed_rate": 1.0}).replace("judge:", "battles:", 1)
    stored = answers_file(tmp_path, "stored.jsonl", abc="cba")
    assert reward(f"{spec}#{stored}", tmp_path / "arena.db").score([ASK], ["a"]) == [None]


def test_a_rule_may_decide(tmp_path: Path) -> None:
    (tmp_path / "longest.yaml").write_text("spec: builtin:longest\n")
    stored = answers_file(tmp_path, "stored.jsonl", abc="four")
    found = reward(f"battles:{tmp_path / 'longest.yaml'}#{stored}", tmp_path / "arena.db")
    assert found.score([ASK] * 3, ["longer", "same", "s"]) == [1.0, 0.0, -1.0]


def test_a_judge_that_is_not_there_leaves_what_stands_beside_its_file(tmp_path: Path) -> None:
    spec, out = judge_file(tmp_path, spec="http://127.0.0.1:9/v1#judge", retries=0), tmp_path / "out"
    with pytest.raises(ArenaloopError, match="cannot be reached"):
        reward(spec, out / "arena.db")
    assert not out.exists()
    out.mkdir()
    (out / "arena.db.bak").write_text("paid")
    with pytest.raises(ArenaloopError, match="cannot be reached"):
        reward(spec, out / "arena.db")
    assert [file.name for file in out.iterdir()] == ["arena.db.bak"]
