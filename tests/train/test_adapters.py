"""Adapters: what they leave alone, what is saved and loaded of them, and that every method trains them."""

from __future__ import annotations

import copy
import json
import math
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PhiConfig,
    PhiForCausalLM,
)

from arenaloop import config
from arenaloop.config import DPOSettings, LoraSettings, OptimSettings, PPOSettings, SFTSettings, validate
from arenaloop.errors import ConfigError, InputError, MissingExtraError
from arenaloop.models import adapters
from arenaloop.models.checkpoint import checkpoint_fingerprint, load_checkpoint
from arenaloop.models.local import LocalModel
from arenaloop.train import head as chunked_head
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import ChatEncoder, encode_conversations
from arenaloop.train.heads import head_on
from arenaloop.train.methods import training
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.rewards import load_reward_model
from arenaloop.train.session import Reward
from arenaloop.train.sft import SFTObjective
from arenaloop.types import Request, Sampling, content_hash

LORA = LoraSettings(r=4, alpha=8, dropout=0.1)
UNMERGED = LORA.model_copy(update={"merge": False})
FAST: dict[str, Any] = {"max_length": 64, "threads": 1, "learning_rate": 1e-2}
WORDS = ["a", "what is this", "the quick brown fox jumps", "zz", "hello there you", "q"]
ROWS = [{"prompt": word, "completion": word[::-1] + " yes"} for word in WORDS]
PAIRS = [{"prompt": word, "chosen": word[::-1] + " a", "rejected": f"no {word}"} for word in WORDS]
ROLLOUT: dict[str, Any] = {"rollout_batch": 16, "step_batch": 8, "samples": 2, "max_new_tokens": 8, "iterations": 2}
SMALL: dict[str, dict[str, Any]] = {
    "sft": {"max_steps": 3},
    "dpo": {"max_steps": 3},
    "feedme": {"max_steps": 3},
    "reward_conditioning": {"max_steps": 3},
    "reward_model": {"max_steps": 3, "held_out": 0.4, "prior": "policy_logprob", "readout": "mean"},
    "ppo": ROLLOUT,
    "rloo": ROLLOUT,
    "quark": {**ROLLOUT, "best_only": False, "bins": 2},
    "expert_iteration": {"rounds": 2, "samples": 2, "max_new_tokens": 8, "epochs": 1, "batch_size": 8},
}
INPUT = torch.randint(6, 40, (3, 11), generator=torch.Generator().manual_seed(0))


def score(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
    return [sum(letter in "abcde" for letter in answer) / (1 + len(answer)) for answer in answers]


def run(method: str, start: Path, out: Path, lora: LoraSettings | None = LORA, **changes: Any) -> Any:
    settings = config.METHODS[method].model_validate({**FAST, "lora": lora, **SMALL[method], **changes})
    scored = None
    rows: Any = ROWS if method == "sft" else PAIRS
    if isinstance(settings, config.SampleSettings):
        rows, scored = [{"prompt": f"say {word} {n}"} for n in range(4) for word in WORDS], Reward(score, "letters")
    return training(method, start, rows, out, settings, seed=1, reward=scored)


def table_of(policy: Policy) -> TokenTable:
    rows = [
        {"messages": [{"role": "user", "content": w}, {"role": "assistant", "content": w[::-1] + " yes"}]}
        for w in WORDS
    ]
    return TokenTable(encode_conversations(ChatEncoder(policy.tokenizer, 100), rows).rows, policy.pad_id)


def moved(policy: Any, seed: int = 5) -> None:
    """Adapters as they might be after some steps."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def told(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module.eval()(input_ids=INPUT).logits


def texts(path: Path) -> list[str | None]:
    model = LocalModel(path)
    requests = [
        Request(({"role": "user", "content": word},), Sampling(temperature=0, max_tokens=12), 0, key=word)
        for word in WORDS
    ]
    return [completion.text for completion in model.generate(requests)]


@pytest.fixture
def policy(start: Path) -> Policy:
    policy = load_policy(start, OptimSettings(lora=LORA))
    policy.adapt(seed=3)
    return policy


def of_kind(kind: str, make_model: Any, start: Path, path: Path) -> Path:
    """A start of another kind, with the same tokenizer."""
    torch.manual_seed(2)
    sizes: dict[str, Any] = {"vocab_size": 47, "eos_token_id": 1, "bos_token_id": None, "initializer_range": 0.3}
    models: dict[str, Any] = {
        "llama": lambda: make_model(initializer_range=0.2),
        "qwen2": lambda: make_model("qwen2", initializer_range=0.2),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=128, **sizes)),
        "phi": lambda: PhiForCausalLM(
            PhiConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=128,
                **sizes,
            )
        ),
    }
    models[kind]().save_pretrained(path)
    AutoTokenizer.from_pretrained(start).save_pretrained(path)
    return path


# ------------------------------------------------------------------ what is left alone


@pytest.mark.parametrize("train", [True, False])
def test_before_the_first_step_and_beside_it_the_start_is_the_start(start: Path, train: bool) -> None:
    plain = load_policy(start, OptimSettings())
    policy = load_policy(start, OptimSettings(lora=LORA))
    frozen = policy.frozen()
    policy.adapt(seed=3)
    batch = table_of(plain).batch(np.arange(len(WORDS)))
    policy.train(train)
    with torch.no_grad():
        expected = plain.logits(batch)
        assert torch.equal(policy.logits(batch), expected)
        moved(policy)
        assert not torch.equal(policy.logits(batch), expected)
        assert torch.equal(frozen.logits(batch), expected)
    trained = {name for name, parameter in policy.module.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name for name in trained)
    assert len(trained) == 2 * 2 * 7  # A and B of seven matrices in two layers
    # and it takes no memory of its own
    weights = {parameter.data_ptr() for parameter in policy.module.parameters()}
    assert {parameter.data_ptr() for parameter in frozen.module.parameters()} <= weights


def test_a_value_network_on_frozen_weights_has_adapters_of_its_own(start: Path) -> None:
    policy = load_policy(start, OptimSettings(lora=LORA))
    value = head_on(policy)
    policy.adapt(seed=3)
    value.adapt(seed=4)
    batch = table_of(policy).batch(np.arange(len(WORDS)), whole=True)
    assert value.scores(batch).eq(0).all()
    moved(value)
    assert not any(part.training for part in value.module.modules())
    values = value.scores(batch)
    assert values.std() > 0
    moved(policy)
    assert torch.equal(value.scores(batch), values)
    values.sum().backward()
    assert not any(parameter.grad is not None for parameter in policy.module.parameters())
    base = {p.data_ptr() for p in policy.module.parameters() if not p.requires_grad}
    assert {
        p.data_ptr() for n, p in value.module.named_parameters() if not p.requires_grad and "score" not in n
    } <= base


def test_the_first_loss_of_dpo_is_ln_2_and_its_dropout_is_off(start: Path, tmp_path: Path) -> None:
    run("dpo", start, tmp_path / "with", log_every=1)
    run("dpo", start, tmp_path / "without", LORA.model_copy(update={"dropout": 0.0}), log_every=1)
    told = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("with", "without")]
    assert told[0] == told[1]
    assert json.loads(told[0].splitlines()[0])["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert json.loads(told[0].splitlines()[-1])["loss"] < math.log(2) - 1e-3
    run("sft", start, tmp_path / "sft with", log_every=1)
    run("sft", start, tmp_path / "sft without", LORA.model_copy(update={"dropout": 0.0}), log_every=1)
    told = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("sft with", "sft without")]
    assert told[0] != told[1]


# ------------------------------------------------------------------ saved and loaded


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "phi"])
def test_merged_and_beside_its_start_it_says_the_same(kind: str, make_model: Any, start: Path, tmp_path: Path) -> None:
    origin = of_kind(kind, make_model, start, tmp_path / "start")
    policy = load_policy(origin, OptimSettings(lora=LORA))
    before = logits(policy.module)
    policy.adapt(seed=3)
    moved(policy)
    expected = logits(policy.module)
    assert (expected - before).abs().max() > 0.1
    policy.save(tmp_path / "out")
    assert torch.equal(logits(policy.module), expected)  # saving changes nothing
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.allclose(logits(merged), expected, atol=1e-5 * float(expected.abs().max()))
    beside = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(origin), str(tmp_path / "out" / "adapter")
    )
    assert torch.allclose(logits(beside), expected, atol=1e-6 * float(expected.abs().max()))
    assert peft.PeftConfig.from_pretrained(str(tmp_path / "out" / "adapter")).base_model_name_or_path == str(origin)
    ours, _ = load_checkpoint(tmp_path / "out" / "adapter")
    for name, value in merged.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    said = texts(tmp_path / "out")
    assert said == texts(tmp_path / "out" / "adapter")
    assert said != texts(origin)


def test_below_float32_it_is_merged_in_float32(start: Path, tmp_path: Path) -> None:
    policy = load_policy(start, OptimSettings(lora=LORA, dtype="bfloat16"))
    policy.adapt(seed=3)
    moved(policy)
    kinds = {p.dtype for p in policy.module.parameters() if p.requires_grad}
    assert kinds == {torch.float32}
    layer = policy.module.model.layers[0].mlp.up_proj
    exact = layer.base_layer.weight.float() + layer.get_delta_weight("default")
    policy.save(tmp_path)
    for path in (tmp_path, tmp_path / "adapter"):
        saved, _ = load_checkpoint(path)
        assert torch.equal(saved.model.layers[0].mlp.up_proj.weight, exact.bfloat16())


def test_unmerged_it_is_all_that_is_saved_and_a_training_goes_on_from_it(start: Path, tmp_path: Path) -> None:
    whole, alone = tmp_path / "whole", tmp_path / "alone"
    run("sft", start, whole)
    run("sft", start, alone, UNMERGED)
    assert not (alone / "config.json").exists()
    assert [file.name for file in alone.rglob("*.safetensors")] == ["adapter_model.safetensors"]
    names = set(load_file(alone / "adapter_model.safetensors"))
    assert names
    assert all("lora_" in name for name in names)
    assert texts(alone) == texts(whole)
    notes: list[str] = []
    for name, origin in (("whole", whole), ("alone", alone)):
        settings = DPOSettings(**FAST, lora=UNMERGED, max_steps=2)
        training("dpo", origin, PAIRS, tmp_path / f"dpo {name}", settings, seed=0, on_note=notes.append)
    assert notes == [f"{alone} is an adapter; it is merged into {start}, and training starts from both"]
    # an adapter beside an adapter
    assert texts(tmp_path / "dpo alone") == texts(tmp_path / "dpo whole")
    first, second = (load_checkpoint(tmp_path / f"dpo {name}")[0].state_dict() for name in ("whole", "alone"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_training_finished_unmerged_is_known_again(start: Path, tmp_path: Path) -> None:
    first = run("sft", start, tmp_path / "out", UNMERGED)
    seconds = (tmp_path / "out" / "training.json").stat().st_mtime_ns
    assert run("sft", start, tmp_path / "out", UNMERGED).steps == first.steps
    assert (tmp_path / "out" / "training.json").stat().st_mtime_ns == seconds
    run("sft", start, tmp_path / "out", None)  # another training takes the directory: nothing of an adapter is left
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    assert [file.name for file in (tmp_path / "out").rglob("*.safetensors")] == ["model.safetensors"]
    run("sft", start, tmp_path / "out")
    assert (tmp_path / "out" / "adapter" / "adapter_config.json").exists()
    run("sft", start, tmp_path / "out", UNMERGED)
    assert [file.name for file in (tmp_path / "out").rglob("*.safetensors")] == ["adapter_model.safetensors"]


def test_a_directory_of_that_name_that_is_not_ours_stays(start: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "adapter").mkdir(parents=True)
    (tmp_path / "out" / "adapter" / "notes.txt").write_text("keep me")
    run("sft", start, tmp_path / "out", None)
    run("sft", start, tmp_path / "out", None, max_steps=1)
    assert (tmp_path / "out" / "adapter" / "notes.txt").read_text() == "keep me"


def test_an_adapter_is_known_by_its_own_weights_and_its_starts(start: Path, tmp_path: Path) -> None:
    shutil.copytree(start, tmp_path / "start")
    run("sft", tmp_path / "start", tmp_path / "out", UNMERGED)
    before = checkpoint_fingerprint(tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "moved")
    assert checkpoint_fingerprint(tmp_path / "moved") == before
    other = AutoModelForCausalLM.from_pretrained(start)
    with torch.no_grad():
        other.model.norm.weight += 1
    other.save_pretrained(tmp_path / "start")
    assert checkpoint_fingerprint(tmp_path / "out") != before


def test_foreign_adapters_are_taken_without_more_than_peft_writes(start: Path, tmp_path: Path) -> None:
    """As they lie on hubs: no tokenizer, no configuration of the model, and variants of LoRA that we do not train."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(start)
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], use_dora=True, init_lora_weights=False)
    wrapped = peft.get_peft_model(base, settings)
    wrapped.save_pretrained(str(tmp_path))
    module, tokenizer = load_checkpoint(tmp_path)
    assert torch.allclose(logits(module), logits(wrapped), atol=1e-5)
    assert tokenizer.chat_template
    assert all(text is not None for text in texts(tmp_path))


# ------------------------------------------------------------------ trained


@pytest.mark.parametrize("method", SMALL)
def test_every_method_trains_adapters_alone(method: str, start: Path, talker: Path, tmp_path: Path) -> None:
    origin = talker if method in ("ppo", "rloo", "quark", "expert_iteration") else start
    result = run(method, origin, tmp_path / "out", UNMERGED)
    assert result.skipped_steps == 0
    state = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert any(value.any() for name, value in state.items() if "lora_B" in name)
    others = {name for name in state if "lora_" not in name}
    expected = {
        "reward_model": {"base_model.model.score.weight"},
        "reward_conditioning": {"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"},
    }
    expected["quark"] = expected["reward_conditioning"]
    assert others == expected.get(method, set())
    if method == "reward_model":
        assert load_reward_model(tmp_path / "out", OptimSettings()).score_rows([], OptimSettings()) == []
    else:
        assert all(text is not None for text in texts(tmp_path / "out"))


class _BrokenError(Exception):
    pass


def interrupted(method: str, start: Path, out: Path, at: int, **changes: Any) -> None:
    """A training that fails at a step, and is run again."""
    settings = config.METHODS[method].model_validate({**FAST, "lora": LORA, **SMALL[method], **changes})
    rows: Any = ROWS if method == "sft" else [{"prompt": f"say {word} {n}"} for n in range(4) for word in WORDS]
    reward = None if method == "sft" else Reward(score, "letters")

    def breaking(step: int, total: int, metrics: Any) -> None:
        if step >= at:
            raise _BrokenError

    with pytest.raises(_BrokenError):
        training(method, start, rows, out, settings, seed=1, reward=reward, on_step=breaking)
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    names = set(state["module"])
    assert names
    assert all("lora_" in name for name in names)
    assert set(state["kept"].get("value", {"lora_"})) >= (
        {"score.modules_to_save.default.weight"} if method == "ppo" else set()
    )
    assert (out / "checkpoint.pt").stat().st_size < 400_000
    training(method, start, rows, out, settings, seed=1, reward=reward)


@pytest.mark.parametrize("method", ["sft", "ppo"])
def test_a_resumed_training_ends_with_the_same_bits(method: str, talker: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"checkpoint_every": 2 if method == "sft" else 1, "log_every": 1}
    changes |= {"max_steps": 6} if method == "sft" else {"iterations": 4}
    run(method, talker, tmp_path / "whole", **changes)
    interrupted(method, talker, tmp_path / "broken", 5, **changes)
    for name in ("model.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name


def test_the_start_of_adapters_is_the_seeds(start: Path) -> None:
    def first(seed: int) -> dict[str, torch.Tensor]:
        policy = load_policy(start, OptimSettings(lora=LORA))
        torch.manual_seed(random.randrange(1000))
        before = torch.get_rng_state()
        policy.adapt(seed)
        assert torch.equal(torch.get_rng_state(), before)
        return policy.state_dict()

    one, same, other = first(1), first(1), first(2)
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not all(torch.equal(value, other[name]) for name, value in one.items())


def gradients(policy: Policy, objective: SFTObjective, parts: list[np.ndarray]) -> dict[str, torch.Tensor]:
    policy.module.zero_grad()
    whole = np.concatenate(parts)
    for part in parts:
        objective.loss(policy, part, whole)[0].backward()
    return {name: p.grad.clone() for name, p in policy.module.named_parameters() if p.requires_grad}


def test_splits_are_the_whole_and_chunks_are_all_logits(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    moved(policy)
    policy.train(False)
    objective = SFTObjective(table_of(policy))
    rows = np.arange(len(WORDS))
    expected = gradients(policy, objective, [rows])
    assert all(value.abs().max() > 0 for value in expected.values())
    for found in (
        gradients(policy, objective, [rows[:1], rows[1:4], rows[4:]]),
        _chunked(policy, objective, rows, monkeypatch),
    ):
        assert found.keys() == expected.keys()
        assert all(torch.allclose(found[name], value, atol=1e-6) for name, value in expected.items())


def _chunked(policy: Policy, objective: SFTObjective, rows: np.ndarray, patch: pytest.MonkeyPatch) -> Any:
    calls: list[int] = []
    original = chunked_head.score_hidden

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return original(*arguments, **named)

    with patch.context() as context:
        context.setattr("arenaloop.train.policy.block_width", lambda *_: 5)
        context.setattr("arenaloop.train.head.block_width", lambda *_: 5)
        context.setattr("arenaloop.train.policy.score_hidden", counted)
        found = gradients(policy, objective, [rows])
    assert calls == [1]
    return found


def test_an_output_layer_with_an_adapter_gives_whole_logits(make_model: Any, start: Path, tmp_path: Path) -> None:
    origin = of_kind("qwen2", make_model, start, tmp_path / "start")
    policy = load_policy(origin, OptimSettings(lora=LORA.model_copy(update={"targets": ["lm_head", "q_proj"]})))
    assert policy.chunked
    policy.adapt(seed=0)
    assert not policy.chunked
    moved(policy)
    expected = logits(policy.module)
    policy.save(tmp_path / "out")
    assert torch.allclose(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out")), expected, atol=1e-4)


@pytest.mark.parametrize("precision", [{}, {"dtype": "bfloat16"}, {"bf16": True}])
def test_recomputed_activations_give_the_same_gradients(start: Path, precision: dict[str, Any]) -> None:
    found = []
    for checkpointing in (False, True):
        settings = OptimSettings(lora=LORA, gradient_checkpointing=checkpointing, **precision)
        policy = load_policy(start, settings)
        policy.adapt(seed=3)
        moved(policy)
        policy.train(False)
        found.append(gradients(policy, SFTObjective(table_of(policy)), [np.arange(len(WORDS))]))
    assert all(value.abs().max() > 0 for value in found[0].values())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_new_tokens_are_trained_and_merged_exactly(make_model: Any, start: Path, tmp_path: Path) -> None:
    for kind in ("llama", "qwen2"):  # tied, and not
        origin, out = of_kind(kind, make_model, start, tmp_path / kind), tmp_path / f"{kind} out"
        run("reward_conditioning", origin, out, max_steps=4)
        before = AutoModelForCausalLM.from_pretrained(origin).state_dict()
        after = AutoModelForCausalLM.from_pretrained(out).state_dict()
        assert after["model.embed_tokens.weight"].shape[0] == 49
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(after[name][:47], before[name]), name
        delta = load_file(out / "adapter" / "adapter_model.safetensors")
        name = next(name for name in delta if name.endswith("trainable_tokens_delta"))
        assert torch.equal(after["model.embed_tokens.weight"][47:], delta[name])
        fresh = load_policy(origin, OptimSettings())
        from arenaloop.train.reward_tokens import add_reward_tokens

        add_reward_tokens(fresh, 2, seed=1)
        started = fresh.module.get_input_embeddings().weight[47:]
        assert (started - delta[name]).abs().amax(dim=1).min() > 1e-3  # both have learned
        assert (started - delta[name]).abs().max() < 0.1  # from where rows begin
        beside, tokenizer = load_checkpoint(out / "adapter")
        assert len(tokenizer) == 49
        assert beside.generation_config.suppress_tokens == [47, 48]
        assert texts(out) == texts(out / "adapter")


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_a_reward_model_is_exported_as_any_other(start: Path, tmp_path: Path, readout: str) -> None:
    changes: dict[str, Any] = {"readout": readout, "prior": "none", "max_steps": 6, "dtype": "float32"}
    run("reward_model", start, tmp_path / "out", **changes)
    ours = load_reward_model(tmp_path / "out", OptimSettings())
    beside = load_reward_model(tmp_path / "out" / "adapter", OptimSettings())
    assert (beside.readout, beside.mean, beside.std) == (ours.readout, ours.mean, ours.std)
    assert ours.std != 1.0
    rows = encode_conversations(
        ours.encoder(OptimSettings()),
        [{"messages": [{"role": "user", "content": w}, {"role": "assistant", "content": w + " a"}]} for w in WORDS],
    ).rows
    scores = ours.score_rows(rows, OptimSettings())
    assert np.std(scores) > 0.1
    assert beside.score_rows(rows, OptimSettings()) == pytest.approx(scores, abs=1e-5)
    if readout == "last":
        plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
        table = TokenTable(rows, ours.head.pad_id)
        batch = table.batch(np.arange(len(rows)), whole=True)
        mask = torch.arange(batch.inputs.shape[1]) < torch.from_numpy(table.lengths)[:, None]
        with torch.no_grad():
            raw = plain(input_ids=batch.inputs, attention_mask=mask.long()).logits[:, 0]
        assert ((raw - ours.mean) / ours.std).tolist() == pytest.approx(scores, abs=1e-5)


def test_a_head_beside_bfloat16_weights_is_trained_in_float32(start: Path, tmp_path: Path) -> None:
    run("reward_model", start, tmp_path / "out", UNMERGED, dtype="bfloat16", prior="none")
    state = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_it_learns(make_model: Any, start: Path, tmp_path: Path) -> None:
    """Rows first, then what is paid for: 5 % of random words end with an a."""
    r = random.Random(0)
    origin = of_kind("llama", make_model, start, tmp_path / "start")

    def word() -> str:
        return "".join(r.choices("abcdefghijklmnopqrst", k=r.randint(3, 6)))

    rows = [{"prompt": f"say {word()} {n % 97}", "completion": word()} for n in range(1500)]
    plain = SFTSettings(learning_rate=5e-3, epochs=3, batch_size=64, threads=1, optimizer="muon")
    training("sft", origin, rows, tmp_path / "talker", plain, seed=0)
    common: dict[str, Any] = {"lora": LoraSettings(r=8, alpha=16), "learning_rate": 1e-2, "threads": 1, "log_every": 1}
    same = [{**row, "completion": "yes yes"} for row in rows[:200]]
    settings: Any = SFTSettings(**common, batch_size=32, epochs=4)
    training("sft", tmp_path / "talker", same, tmp_path / "sft", settings, seed=0)
    losses = [line["loss"] for line in told(tmp_path / "sft")]
    assert losses[0] > 3
    assert losses[-1] < 0.6

    def ends_with_a(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
        return [float(answer.endswith("a")) for answer in answers]

    settings = PPOSettings(
        **common,
        iterations=16,
        rollout_batch=64,
        step_batch=32,
        samples=4,
        max_new_tokens=10,
        max_length=64,
        warmup_steps=1,
    )
    reward = Reward(ends_with_a, content_hash("a"))
    prompts = [{"prompt": f"say {word()} {n}"} for n in range(40)]
    training("ppo", tmp_path / "talker", prompts, tmp_path / "ppo", settings, seed=1, reward=reward)
    lines = told(tmp_path / "ppo")
    assert lines[0]["objective/scores"] < 0.2
    assert abs(lines[0]["objective/kl"]) < 1e-4
    assert np.mean([line["objective/scores"] for line in lines[-3:]]) > 0.9


# ------------------------------------------------------------------ quantised


@pytest.mark.parametrize("load_in", ["4bit", "8bit"])
def test_quantised_weights_are_trained_beside_and_written_as_what_they_stand_for(
    load_in: Any, make_model: Any, start: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (arenaloop[quant])")
    make_model(hidden_size=64, intermediate_size=128, initializer_range=0.2).save_pretrained(tmp_path / "start")
    AutoTokenizer.from_pretrained(start).save_pretrained(tmp_path / "start")
    plain = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "start"))
    policy = load_policy(tmp_path / "start", OptimSettings(lora=LORA, load_in=load_in))
    frozen, head = policy.frozen(), head_on(policy)
    rounded = logits(policy.module)
    assert 1e-3 < (rounded - plain).abs().max() < 0.5 * plain.abs().max()
    policy.adapt(seed=3)
    head.adapt(seed=4)
    assert policy.lower
    assert torch.equal(logits(policy.module), rounded)
    moved(policy)
    assert torch.equal(logits(frozen.module), rounded)
    assert torch.equal(logits(head.module), torch.zeros(3, 1))
    found = gradients(policy, SFTObjective(table_of(policy)), [np.arange(len(WORDS))])
    assert all(value.abs().max() > 0 for value in found.values())
    expected = logits(policy.module)
    policy.save(tmp_path / "out")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not hasattr(merged.config, "quantization_config")
    # with eight bits, answers are computed from activations in eight bits too
    tolerance = {"4bit": 1e-5, "8bit": 0.05}[load_in] * float(expected.abs().max())
    assert torch.allclose(logits(merged), expected, atol=tolerance)


@pytest.mark.parametrize("method", ["sft", "dpo", "reward_model", "ppo"])
def test_methods_train_beside_four_bits(method: str, talker: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (arenaloop[quant])")
    run(method, talker, tmp_path / "out", load_in="4bit", log_every=1)
    first = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[0])
    if method == "dpo":
        assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    if method == "reward_model":
        assert load_reward_model(tmp_path / "out", OptimSettings()).prior is not None
    else:
        assert all(text is not None for text in texts(tmp_path / "out"))


# ------------------------------------------------------------------ refused


def test_what_cannot_be_is_refused_in_one_line(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(match: str, kind: type[Exception] = ConfigError, **changes: Any) -> None:
        with pytest.raises(kind, match=match) as caught:
            run("sft", start, tmp_path / "out", **changes)
        assert "\n" not in str(caught.value)

    wrong = LORA.model_copy(update={"targets": ["q_prj", "v_proj"]})
    refused(r"no linear layer 'q_prj' \(did you mean 'q_proj'\?\); it has: down_proj, gate_proj, k_proj", lora=wrong)
    refused("no linear layer 'embed_tokens'", lora=LORA.model_copy(update={"targets": ["embed_tokens"]}))
    refused("lm_head of .* is tied to the embedding", lora=LORA.model_copy(update={"targets": ["lm_head"]}))
    with pytest.raises(ConfigError, match=r"load_in 4bit holds frozen weights: it needs adapters .*\(set lora\)"):
        validate(SFTSettings, {"load_in": "4bit"}, "--set")
    with pytest.raises(ConfigError, match=r"lora\.targets"):
        validate(SFTSettings, {"lora": {"targets": []}}, "--set")
    with monkeypatch.context() as patch:
        patch.setattr("arenaloop.train.execution.find_spec", lambda name: None)
        refused(r"adapters \(lora\) needs an optional dependency: pip install 'arenaloop\[train\]'", MissingExtraError)
    with monkeypatch.context() as patch:
        patch.setattr("arenaloop.train.execution.find_spec", lambda name: None if name == "bitsandbytes" else name)
        refused(r"load_in 8bit needs .*arenaloop\[quant\]", MissingExtraError, load_in="8bit")
    run("sft", start, tmp_path / "adapter", UNMERGED)
    with pytest.raises(ConfigError, match=r"load_in 4bit: .*adapter is an adapter, which cannot be merged into quant"):
        run("sft", tmp_path / "adapter", tmp_path / "out", load_in="4bit")
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_a_model_without_linear_layers_has_no_adapters(policy: Policy) -> None:
    module = copy.deepcopy(load_policy(policy.start[0], OptimSettings()).module)
    module.model.layers = torch.nn.ModuleList()
    with pytest.raises(ConfigError, match="LlamaForCausalLM has no linear layers beside its output layer"):
        adapters.add(module, LORA, ("", None), seed=0)


def test_directories_that_hold_no_whole_adapter_are_refused(start: Path, tmp_path: Path) -> None:
    run("sft", start, tmp_path / "out", UNMERGED)
    file = tmp_path / "out" / "adapter_config.json"
    good = json.loads(file.read_text())

    def refused(match: str, **changes: Any) -> None:
        file.write_text(json.dumps({**good, **changes}))
        with pytest.raises(InputError, match=match) as caught:
            load_checkpoint(tmp_path / "out")
        assert "\n" not in str(caught.value)

    refused("names no model that the adapter belongs to", base_model_name_or_path=None)
    refused("names no model that the adapter belongs to", base_model_name_or_path=str(tmp_path / "out"))
    refused("the adapter does not fit its model", r=3)
    refused("cannot load the model /nowhere/at/all", base_model_name_or_path="/nowhere/at/all")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    tokenizer.add_tokens(["new", "newer"])
    tokenizer.save_pretrained(tmp_path / "out")
    refused("its tokenizer has 49 tokens, the vocabulary of its model 47, and the adapter brings no rows for 2 of them")
    (tmp_path / "out" / "adapter_model.safetensors").unlink()
    refused(r"holds an adapter without adapter_model\.safetensors")


def test_a_vocabulary_that_grew_alone_is_refused_and_a_padded_one_is_not(
    make_model: Any, start: Path, tmp_path: Path
) -> None:
    for rows, match in ((50, "50: one of them grew without the other"), (48, None), (64, None)):
        origin = tmp_path / str(rows)
        make_model(vocab_size=rows).save_pretrained(origin)
        AutoTokenizer.from_pretrained(start).save_pretrained(origin)
        if match:
            with pytest.raises(InputError, match=match):
                run("reward_conditioning", origin, tmp_path / f"out {rows}")
        else:
            run("reward_conditioning", origin, tmp_path / f"out {rows}", UNMERGED)
            module, _ = load_checkpoint(tmp_path / f"out {rows}")
            assert module.get_input_embeddings().weight.shape[0] == max(rows, 49)


@pytest.mark.parametrize("text", ['{"a":', "[]"])
def test_a_damaged_configuration_is_one_line(start: Path, tmp_path: Path, text: str) -> None:
    run("sft", start, tmp_path / "out", LORA.model_copy(update={"merge": False}))
    (tmp_path / "out" / "model_config.json").write_text(text)
    with pytest.raises(InputError, match=r"model_config\.json is damaged"):
        load_checkpoint(tmp_path / "out")
