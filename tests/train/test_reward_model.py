"""A reward model: learned, measured, saved so that plain loaders score as we do."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from arenaloop.config import RewardModelSettings
from arenaloop.errors import InputError
from arenaloop.train.gate import pair_report, report_line
from arenaloop.train.methods import training
from arenaloop.train.reward_model import held_out
from arenaloop.train.rewards import load_reward_model

SETTINGS = RewardModelSettings(learning_rate=3e-3, batch_size=32, epochs=6, threads=1, held_out=0.2)
ASK = [{"role": "user", "content": "go"}]


def pairs(n: int, seed: int) -> list[dict[str, Any]]:
    """Of two words of a to f, the one with more vowels is preferred; every prompt is another one."""
    r = random.Random(seed)
    out: list[dict[str, Any]] = []
    while len(out) < n:
        first, second = ("".join(r.choices("abcdef", k=r.randint(2, 7))) for _ in range(2))
        vowels = [sum(letter in "ae" for letter in word) for word in (first, second)]
        if vowels[0] != vowels[1]:
            best, worst = (first, second) if vowels[0] > vowels[1] else (second, first)
            out.append({"prompt": f"go {r.randint(0, 10**6)}", "chosen": best, "rejected": worst})
    return out


@pytest.fixture(scope="module", params=["last", "mean"])
def trained(request: pytest.FixtureRequest, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("rm") / "out"
    settings = SETTINGS.model_copy(update={"readout": request.param})
    return training("reward_model", start, pairs(400, 0), out, settings, seed=0), settings


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_it_learns_and_says_what_it_is_worth(trained: Any) -> None:
    result, _ = trained
    assert result.report["accuracy"][0] > 0.9
    assert result.report["over_likelihood"][1] > 0
    assert 60 <= result.report["pairs"][0] <= 90
    assert "over the likelihood" in report_line(result.report)
    assert any("held-out pairs" in remark for remark in result.remarks())
    assert result.rows_used + result.report["pairs"][0] == 400


def test_scores_are_standardised_and_order_answers(trained: Any) -> None:
    result, settings = trained
    model = load_reward_model(result.path, settings)
    told: Any = model.score([(ASK, answer(text)) for text in ("aeaea", "bcdfb", "a" * 300)], settings)
    assert told[0] > told[1]
    assert told[2] == "answer_too_long"
    rows = pairs(400, 0)
    some = [
        ([{"role": "user", "content": r["prompt"]}], answer(r[side])) for r in rows for side in ("chosen", "rejected")
    ]
    scores = np.array(model.score(some, settings))
    assert abs(scores.mean()) < 0.1  # all but those held out are what they were standardised by
    assert 0.9 < scores.std() < 1.1


def test_of_many_pairs_some_standardise(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arenaloop.train.reward_model.MOST_MEASURED", 10)
    settings = SETTINGS.model_copy(update={"held_out": 0.0, "max_steps": 2})
    rows = pairs(40, 1)
    model = load_reward_model(training("reward_model", start, rows, tmp_path / "out", settings, seed=0).path, settings)
    some = [
        ([{"role": "user", "content": r["prompt"]}], answer(r[side])) for r in rows for side in ("chosen", "rejected")
    ]
    scores = np.array(model.score(some, settings), dtype=float).reshape(40, 2)
    spread = scores[np.linspace(0, 39, 10).astype(int)]  # from the first to the last of the file
    assert (spread.mean(), spread.std()) == pytest.approx((0, 1), abs=1e-4)
    assert scores.mean() != pytest.approx(0, abs=1e-3)


def test_the_saved_classifier_is_scored_by_plain_transformers_as_by_us(trained: Any) -> None:
    result, settings = trained
    if settings.readout != "last":
        pytest.skip("plain loaders read the last token")
    model = load_reward_model(result.path, settings)
    saved = AutoModelForSequenceClassification.from_pretrained(result.path)
    tokenizer = AutoTokenizer.from_pretrained(result.path)
    words = ["aeaea", "b", "cafe", "dd"]
    texts = [tokenizer.apply_chat_template([*ASK, *answer(word)], tokenize=False) for word in words]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
    with torch.no_grad():
        expected = saved(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
    ours = model.score([(ASK, answer(word)) for word in words], settings)
    assert ours == pytest.approx(((expected - saved.config.mean) / saved.config.std).tolist(), abs=1e-5)


def test_a_prior_is_added_kept_and_needed(start: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"prior": "policy_logprob", "readout": "mean", "max_steps": 1})
    settings = settings.model_copy(update={"learning_rate": 1e-12})
    out = tmp_path / "out"
    training("reward_model", start, pairs(40, 1), out, settings, seed=0)
    model = load_reward_model(out, settings)
    policy = AutoModelForCausalLM.from_pretrained(out / "prior")
    tokenizer: Any = AutoTokenizer.from_pretrained(out)
    prompt = tokenizer.apply_chat_template(ASK, add_generation_prompt=True)["input_ids"]
    ids = torch.tensor([tokenizer.apply_chat_template([*ASK, *answer("cafe")])["input_ids"]])
    with torch.no_grad():
        logprobs = policy(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        hidden = model.head.module.model(ids).last_hidden_state
        values = model.head.module.score(hidden)[0, len(prompt) - 1 : -1, 0]
    n = ids.shape[1] - len(prompt)
    expected = float(logprobs[-n:].sum() / n**0.5 + values.mean())
    found: Any = model.score([(ASK, answer("cafe"))], settings)[0]
    assert found * model.std + model.mean == pytest.approx(expected, abs=1e-4)
    (out / "prior" / "config.json").unlink()
    with pytest.raises(InputError, match="prior"):
        load_reward_model(out, settings)


def test_padding_that_ends_turns_is_replaced(
    start: Path, tmp_path: Path, make_tokenizer: Callable[..., Any], make_model: Callable[..., Any]
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    make_model(pad_token_id=1).save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    settings = SETTINGS.model_copy(update={"max_steps": 2})
    out = training("reward_model", tmp_path / "start", pairs(40, 1), tmp_path / "out", settings, seed=0).path
    saved = AutoModelForSequenceClassification.from_pretrained(out)
    again = AutoTokenizer.from_pretrained(out)
    assert saved.config.pad_token_id == again.pad_token_id != 1
    batch = again(
        ["<|user|>go<|assistant|>abc<|end|>", "<|user|>go<|assistant|>a<|end|>"], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected = saved(**{k: batch[k] for k in ("input_ids", "attention_mask")}).logits[:, 0]
    ours = load_reward_model(out, settings).score([(ASK, answer(word)) for word in ("abc", "a")], settings)
    assert ours == pytest.approx(((expected - saved.config.mean) / saved.config.std).tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"preference": 2}, "'preference' is 2"),
        ({"preference": True}, "'preference' is True"),
        ({"margin": -1}, "'margin' is -1"),
        ({"margin": "far"}, "'margin' is 'far'"),
    ],
)
def test_labels_that_are_none_are_refused(start: Path, tmp_path: Path, row: dict[str, Any], match: str) -> None:
    rows = [*pairs(3, 0), {**pairs(1, 1)[0], **row}]
    with pytest.raises(InputError, match=f"preference row 3: {match}"):
        training("reward_model", start, rows, tmp_path / "out", SETTINGS, seed=0)


def test_ties_are_dropped_or_soft(start: Path, tmp_path: Path) -> None:
    rows = [{**row, "preference": 0.5} if at % 2 else row for at, row in enumerate(pairs(40, 0))]
    short = SETTINGS.model_copy(update={"max_steps": 1, "held_out": 0.0})
    dropped = training("reward_model", start, rows, tmp_path / "drop", short, seed=0)
    assert (dropped.rows_used, dropped.dropped["tie"], dropped.report) == (20, 20, {})
    soft = training("reward_model", start, rows, tmp_path / "soft", short.model_copy(update={"ties": "soft"}), seed=0)
    assert soft.rows_used == 40


def test_what_is_no_reward_model_is_refused(start: Path, tmp_path: Path, make_model: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="no reward model"):
        load_reward_model(start, SETTINGS)
    with pytest.raises(InputError, match="does not hold a model"):
        load_reward_model(tmp_path, SETTINGS)


def test_held_out_prompts_keep_their_pairs_together() -> None:
    prompts = [str(at // 3) for at in range(300)]
    away = held_out(prompts, 0.1, 0)
    assert sum(away) == 30
    assert all(len(set(away[at : at + 3])) == 1 for at in range(0, 300, 3))
    assert held_out(prompts, 0.1, 0) == away != held_out(prompts, 0.1, 1)
    assert sum(held_out([str(at) for at in range(20_000)], 0.5, 0)) == 500
    assert not any(held_out(prompts, 0.0, 0))


def test_a_report_worked_by_hand() -> None:
    """Four pairs of two prompts: right, right, wrong, equal; likelihood always right; the longer answer never."""
    scores = np.array([[2.0, 1.0], [3.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    lengths = np.array([[1.0, 2.0]] * 4)
    report = pair_report(scores, lengths, np.array([[0.0, -1.0]] * 4), ["p", "p", "q", "q"])
    assert report["pairs"] == [4.0]
    assert report["accuracy"][0] == 0.625
    assert report["accuracy_likelihood"][0] == 1.0
    assert report["accuracy_longest"][0] == 0.0
    over, low, high = report["over_likelihood"]
    assert over == -0.375
    assert low is not None
    assert -1.0 <= low < -0.9
    assert high is not None
    assert 0.3 < high < 1.0
    sigma = 1 / (1 + np.exp(-np.array([1.0, 3.0])))
    # one right and one wrong at sigma(1), one right at sigma(3), one equal at a half
    expected = (abs(2 * sigma[0] - 1) + (1 - sigma[1]) + 0) / 4
    assert report["calibration_error"][0] == pytest.approx(expected)
    assert report["length_correlation"] == [None]
