"""DPO as a whole: it starts at ln 2, prefers what it should, and resumes exactly."""

from __future__ import annotations

import json
import math
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    FalconConfig,
    FalconForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from arenaloop.config import DPOSettings
from arenaloop.errors import InputError
from arenaloop.train import dpo
from arenaloop.train.batches import TokenTable
from arenaloop.train.dpo import reference_logprobs
from arenaloop.train.encoding import ChatEncoder, encode_pairs
from arenaloop.train.methods import training
from arenaloop.train.policy import load_policy

Row = dict[str, Any]
train_dpo = partial(training, "dpo")


def pairs(n: int, seed: int = 0) -> list[Row]:
    """A word is preferred as it is to a longer one that ends in z."""
    r = random.Random(seed)
    words = ["".join(r.choices("abcdef", k=r.randint(1, 6))) for _ in range(n)]
    return [
        {
            "prompt": [{"role": "user", "content": w}],
            "chosen": [{"role": "assistant", "content": w}],
            "rejected": [{"role": "assistant", "content": w[::-1] + "z"}],
        }
        for w in words
    ]


SETTINGS = DPOSettings(
    epochs=2, batch_size=16, learning_rate=1e-3, threads=1, log_every=1, checkpoint_every=2, micro_tokens=128
)


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_it_learns_the_preference(start: Path, tmp_path: Path, optimizer: str) -> None:
    settings = SETTINGS.model_copy(update={"optimizer": optimizer, "micro_tokens": None})
    result = train_dpo(start, pairs(160), tmp_path / "out", settings, seed=0)
    assert (result.steps, result.rows_used) == (20, 160)
    found = lines(tmp_path / "out")
    assert found[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert found[0]["margin"] == pytest.approx(0, abs=1e-5)
    assert found[-1]["margin"] > 0.3
    assert found[-1]["accuracy"] > 0.95
    assert found[-1]["loss"] < 0.6
    assert found[-1]["chosen_logratio"] > found[-1]["rejected_logratio"]
    assert found[-1]["margin"] == pytest.approx(
        0.3 * (found[-1]["chosen_logratio"] - found[-1]["rejected_logratio"]), rel=1e-4
    )
    # on pairs that it has not seen, the trained model prefers the chosen answers more than the start does
    held_out = pairs(60, seed=1)
    before, after = (preferred(path, held_out) for path in (start, tmp_path / "out"))
    assert (after > before).float().mean() > 0.9


def preferred(path: Path, rows: list[Row]) -> torch.Tensor:
    """Chosen less rejected log-probability of each pair, by plain transformers, one answer at a time."""
    model: Any = AutoModelForCausalLM.from_pretrained(path)
    tokenizer: Any = AutoTokenizer.from_pretrained(path)

    def logprob(prompt: list[Any], answer: list[Any]) -> float:
        ids = tokenizer.apply_chat_template(prompt + answer, return_tensors="pt", return_dict=True)["input_ids"]
        head = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
        with torch.no_grad():
            logprobs = model(ids).logits[0, :-1].log_softmax(-1)
        return float(logprobs.gather(1, ids[0, 1:, None])[len(head) - 1 :].sum())

    return torch.tensor(
        [logprob(row["prompt"], row["chosen"]) - logprob(row["prompt"], row["rejected"]) for row in rows]
    )


def test_reference_logprobs_are_those_of_single_answers(start: Path) -> None:
    rows = pairs(20)
    policy = load_policy(start, SETTINGS)
    table = TokenTable(encode_pairs(ChatEncoder(policy.tokenizer, 100), rows).rows, policy.pad_id)
    chosen, rejected = reference_logprobs(policy, table, SETTINGS).chunk(2)
    assert torch.allclose(chosen - rejected, preferred(start, rows), atol=1e-4)


def test_the_nll_term_keeps_the_chosen_answers_likely(start: Path, tmp_path: Path) -> None:
    plain = train_dpo(start, pairs(80), tmp_path / "plain", SETTINGS, seed=0)
    anchored = train_dpo(start, pairs(80), tmp_path / "nll", SETTINGS.model_copy(update={"nll_weight": 1.0}), seed=0)
    assert "chosen_nll" not in plain.metrics
    assert anchored.metrics["chosen_logratio"] > plain.metrics["chosen_logratio"] + 0.5
    first, last = lines(tmp_path / "nll")[0], lines(tmp_path / "nll")[-1]
    assert first["loss"] == pytest.approx(math.log(2) + first["chosen_nll"], abs=1e-5)
    assert last["chosen_nll"] < first["chosen_nll"]


class StopHereError(Exception):
    pass


def test_an_interrupted_training_resumes_to_the_same_bits_and_reuses_the_reference(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []

    def counted(*arguments: Any) -> torch.Tensor:
        computed.append(1)
        return reference_logprobs(*arguments)

    monkeypatch.setattr(dpo, "reference_logprobs", counted)
    train_dpo(start, pairs(60), tmp_path / "unbroken", SETTINGS, seed=1)

    def interrupt(step: int, *_: object) -> None:
        if step == 5:
            raise StopHereError

    with pytest.raises(StopHereError):
        train_dpo(start, pairs(60), tmp_path / "broken", SETTINGS, seed=1, on_step=interrupt)
    assert len(computed) == 2
    steps: list[int] = []
    train_dpo(start, pairs(60), tmp_path / "broken", SETTINGS, seed=1, on_step=lambda step, *_: steps.append(step))
    assert steps == [5, 6, 7, 8]
    assert len(computed) == 2
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("unbroken", "broken"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert lines(tmp_path / "unbroken") == lines(tmp_path / "broken")
    # other settings train anew on the same reference; other rows need their own
    train_dpo(start, pairs(60), tmp_path / "broken", SETTINGS.model_copy(update={"beta": 0.1}), seed=1)
    assert len(computed) == 2
    train_dpo(start, pairs(59), tmp_path / "broken", SETTINGS, seed=1)
    assert len(computed) == 3


def test_the_reference_may_be_another_model(start: Path, tmp_path: Path) -> None:
    """As where every round is held near the first model: the log-probabilities are that one's."""
    rows = pairs(40)
    train_dpo(start, rows, tmp_path / "first", SETTINGS, seed=1)
    named = SETTINGS.model_copy(update={"reference": str(start)})
    for name, chosen in (("own", SETTINGS), ("named", named)):
        train_dpo(tmp_path / "first", rows, tmp_path / name, chosen, seed=1)
    own, other = (lines(tmp_path / name)[0] for name in ("own", "named"))
    assert own["loss"] == pytest.approx(math.log(2), abs=0.05)  # the mean over some steps
    assert other["loss"] < own["loss"] - 0.05  # what the first training gained counts
    assert other["margin"] > own["margin"]
    assert SETTINGS.method() == SETTINGS.model_copy(update={"reference": None}).method() != named.method()


def test_dropped_pairs_are_reported_and_none_left_is_an_error(start: Path, tmp_path: Path) -> None:
    equal = {**pairs(1)[0], "rejected": pairs(1)[0]["chosen"]}
    settings = SETTINGS.model_copy(update={"max_steps": 1})
    result = train_dpo(start, [*pairs(3), equal], tmp_path / "out", settings, seed=0)
    assert (result.rows_used, result.dropped) == (3, {"equal_texts": 1})
    with pytest.raises(InputError, match="no preference row is left of 1"):
        train_dpo(start, [equal], tmp_path / "none", settings, seed=0)


@pytest.mark.parametrize("recomputing", [False, True])
@pytest.mark.parametrize("kind", ["opt", "falcon", "llama"])
def test_the_first_loss_is_ln_2_whatever_dropout_the_configuration_has(
    start: Path, tmp_path: Path, kind: str, recomputing: bool
) -> None:
    sizes: dict[str, Any] = {"vocab_size": 47, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids: dict[str, Any] = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0, "attention_dropout": 0.3}
    torch.manual_seed(0)
    model: Any = {
        # the layers themselves drop out in two of them, and would in the mode in which they recompute
        "opt": lambda: OPTForCausalLM(
            OPTConfig(**sizes, **ids, word_embed_proj_dim=32, ffn_dim=64, max_position_embeddings=128, dropout=0.3)
        ),
        "falcon": lambda: FalconForCausalLM(FalconConfig(**sizes, **ids, hidden_dropout=0.3)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**sizes, **ids, intermediate_size=64)),
    }[kind]()
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(start).save_pretrained(tmp_path / "model")
    settings = SETTINGS.model_copy(update={"epochs": 1, "micro_tokens": None, "gradient_checkpointing": recomputing})
    train_dpo(tmp_path / "model", pairs(16), tmp_path / "out", settings, seed=0)
    assert lines(tmp_path / "out")[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert lines(tmp_path / "out")[0]["grad_norm"] > 0
