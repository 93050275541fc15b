"""FeedME and binary reward conditioning: both learn from pairs, by likelihood alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arenaloop.config import FeedMESettings, RewardConditioningSettings, SFTSettings
from arenaloop.errors import InputError
from arenaloop.models.decoding import Continuation, decode
from arenaloop.models.local import LocalModel
from arenaloop.train.encoding import encode_chosen, encode_pairs
from arenaloop.train.methods import training
from arenaloop.train.policy import Policy, load_policy
from arenaloop.types import Request, Sampling

FAST: dict[str, Any] = {"max_length": 64, "threads": 1, "batch_size": 64, "optimizer": "muon", "learning_rate": 1e-2}
PROMPTS = [f"say {'abcdefgh'[n % 8]} {n}" for n in range(150)]


def pairs(n: int) -> list[dict[str, Any]]:
    """The better word ends with an a or an e, the worse with b, c, d or f."""
    r = random.Random(5)

    def word(ends: str) -> str:
        return "".join(r.choices("abcdefghijklmnopqrst", k=r.randint(2, 5))) + r.choice(ends)

    return [{"prompt": f"say {word('a')} {at % 97}", "chosen": word("ae"), "rejected": word("bcdf")} for at in range(n)]


def shares(policy: Policy, change: Callable[[list[int]], list[int]] = list) -> tuple[float, float, float]:
    """Of its answers at temperature 1: how many end well, how many badly, and how many end at all."""
    chat, rows = policy.encoder(SFTSettings(max_length=64)), []
    for at, prompt in enumerate(PROMPTS):
        ids = chat.prompt([{"role": "user", "content": prompt}])
        assert isinstance(ids, list)
        rows.append(Continuation(change(ids), 10, 1.0, seed=at))
    with policy.evaluating():
        decode(policy.module, rows, policy.end_ids, forbidden=policy.forbidden)
    texts = [policy.tokenizer.decode(row.tokens, skip_special_tokens=True) for row in rows]
    good, bad = (sum(text[-1:] in list(ends) for text in texts) / len(texts) for ends in ("ae", "bcdf"))
    return good, bad, sum(row.finish_reason == "stop" for row in rows) / len(rows)


def test_feedme_learns_what_was_chosen_as_fine_tuning_would(talker: Path, tmp_path: Path) -> None:
    rows = pairs(400)
    result = training("feedme", talker, rows, tmp_path / "out", FeedMESettings(**FAST), seed=0)
    assert (result.rows_used, result.steps) == (400, 3 * 7)
    good, bad, _ = shares(load_policy(tmp_path / "out", SFTSettings()))
    before, _, _ = shares(load_policy(talker, SFTSettings()))
    assert before < 0.25
    assert good > 0.8 > 0.1 > bad
    chosen = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
    training("sft", talker, chosen, tmp_path / "sft", SFTSettings(**FAST), seed=0)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (tmp_path / "sft/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def conditioned(talker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("conditioned") / "out"
    settings = RewardConditioningSettings(**FAST, epochs=8)
    result = training("reward_conditioning", talker, pairs(600), out, settings, seed=1)
    assert (result.rows_used, result.steps) == (600, 8 * 19)  # two answers of each pair
    return out


def test_reward_conditioning_answers_by_its_token(conditioned: Path) -> None:
    policy = load_policy(conditioned, SFTSettings())
    best, worst = policy.tokenizer.convert_tokens_to_ids(["<reward_0>", "<reward_1>"])
    good, bad = shares(policy), shares(policy, lambda ids: [worst, *ids[1:]])
    ids = policy.encoder(SFTSettings()).prompt([{"role": "user", "content": "a"}])
    assert isinstance(ids, list)
    assert ids[0] == best
    assert good[0] - bad[0] > 0.8
    assert bad[1] - good[1] > 0.8
    assert min(good[2], bad[2]) > 0.9  # both end


def test_whoever_loads_the_saved_model_gets_the_best_answers(conditioned: Path) -> None:
    model = LocalModel(conditioned)
    sampling = Sampling(temperature=1.0, max_tokens=10)
    answers = model.generate(
        [Request(({"role": "user", "content": prompt},), sampling, key=prompt) for prompt in PROMPTS[:60]]
    )
    assert sum((answer.text or "")[-1:] in ("a", "e") for answer in answers) > 50
    # a text that spells a token is a text
    spelled = model.generate([Request(({"role": "user", "content": "say <reward_1> b 3"},), sampling, key="x")])
    policy = load_policy(conditioned, SFTSettings())
    ids = policy.encoder(SFTSettings()).prompt([{"role": "user", "content": "<reward_1>"}])
    assert isinstance(ids, list)
    assert spelled[0].text
    assert policy.tokenizer.convert_tokens_to_ids("<reward_1>") not in ids


def test_the_words_of_tokens_fit_the_window(talker: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "chosen": "b" * n, "rejected": "c"} for n in (26, 27, 28)]
    settings = RewardConditioningSettings(max_length=32, threads=1, epochs=1)
    result = training("reward_conditioning", talker, rows, tmp_path / "out", settings, seed=0)
    assert result.truncated == 1  # token, user, a, assistant, 27 letters, end: 32


@pytest.mark.parametrize("method", ["feedme", "reward_conditioning"])
def test_pairs_without_a_better_answer_are_dropped(talker: Path, tmp_path: Path, method: str) -> None:
    pair = {"prompt": "a", "chosen": "b", "rejected": "c"}
    rows: list[dict[str, Any]] = [
        pair,
        {**pair, "preference": 0.8},
        {**pair, "preference": 0.5},
        {**pair, "preference": 0.2},
        {**pair, "rejected": "b"},
        {**pair, "chosen": " "},
    ]
    kinds: dict[str, Any] = {"feedme": FeedMESettings, "reward_conditioning": RewardConditioningSettings}
    result = training(method, talker, rows, tmp_path / "out", kinds[method](epochs=1, threads=1), seed=0)
    assert result.rows_used == 2
    dropped = {"tie": 1, "rejected_is_better": 1, "equal_texts": 1, "empty_response": 1}
    assert result.dropped == dropped
    assert json.loads((tmp_path / "out/training.json").read_text())["result"]["dropped"] == dropped
    with pytest.raises(InputError, match="preference row 1: 'preference' is 2, not a probability"):
        training(method, talker, [pair, {**pair, "preference": 2}], tmp_path / "x", kinds[method](), seed=0)


def test_ties_stay_where_nobody_asked_for_a_better_answer(talker: Path) -> None:
    encoder = load_policy(talker, SFTSettings()).encoder(SFTSettings())
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c", "preference": value} for value in (0.5, 0.7)]
    assert len(encode_pairs(encoder, rows).source) == 2
    assert encode_pairs(encoder, rows, decided=True).source == encode_chosen(encoder, rows).source == [1]
    with pytest.raises(InputError, match=r"no preference row is left of 1: {'tie': 1}"):
        encode_chosen(encoder, rows[:1])
