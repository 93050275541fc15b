from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    Qwen2Config,
)

from arenaloop.config import DPOSettings, OptimSettings, SFTSettings
from arenaloop.errors import ConfigError, InputError, StorageError
from arenaloop.models.checkpoint import torch_threads
from arenaloop.models.decoding import Continuation, decode
from arenaloop.train.backbone import save_checkpoint
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import ChatEncoder, Encoded, encode_conversations
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.run import TrainingRun

WORDS = ["a", "what is this", "the quick brown fox jumps", "zz", "hello there you", "q"]
ROWS = [
    {"messages": [{"role": "user", "content": w}, {"role": "assistant", "content": w[::-1] + " yes"}]} for w in WORDS
]


def table_of(policy: Any) -> TokenTable:
    return TokenTable(encode_conversations(ChatEncoder(policy.tokenizer, 100), ROWS).rows, policy.pad_id)


SIZES: dict[str, Any] = {
    "vocab_size": 47,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "initializer_range": 0.5,
}


@pytest.mark.parametrize(
    "config",
    [
        None,  # the plain Llama
        Gemma2Config(**SIZES, head_dim=8, sliding_window=8, query_pre_attn_scalar=8),  # sliding windows, capped logits
        GraniteConfig(**SIZES, logits_scaling=2.0),  # scaled logits
    ],
    ids=["llama", "gemma2", "granite"],
)
def test_answer_logprobs_equal_plain_transformers_row_by_row(start: Path, tmp_path: Path, config: Any) -> None:
    path = start
    if config is not None:
        torch.manual_seed(1)
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
        AutoTokenizer.from_pretrained(start).save_pretrained(tmp_path)
        path = tmp_path
    policy = load_policy(path, SFTSettings())
    table = table_of(policy)
    encoded = encode_conversations(ChatEncoder(policy.tokenizer, 100), ROWS).rows
    with torch.no_grad():
        # right padding without an attention mask, logits of the last positions only
        found = policy.answer_logprobs(table.batch(np.arange(len(ROWS))))
        for row, value in zip(encoded, found, strict=True):
            ids = torch.tensor([row.ids])
            logprobs = policy.module(ids, attention_mask=torch.ones_like(ids)).logits[0].log_softmax(-1)
            each = [float(logprobs[at - 1, row.ids[at]]) for at in range(len(row.ids)) if row.labelled[at]]
            assert float(value) == pytest.approx(sum(each), abs=2e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_it_knows_the_probabilities_of_what_it_has_sampled_from_itself(
    start: Path, tmp_path: Path, temperature: float
) -> None:
    policy = load_policy(start, SFTSettings())
    torch.manual_seed(0)
    with torch.no_grad():  # no longer what is on the disk
        for parameter in policy.module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    policy.module.train()
    policy.module.model.norm.eval()
    modes = [part.training for part in policy.module.modules()]
    prompts = [policy.tokenizer(f"<|user|>{word}<|assistant|>")["input_ids"] for word in WORDS]
    rows = [Continuation(ids, 9, temperature, seed=at) for at, ids in enumerate(prompts)]
    with policy.evaluating():
        decode(policy.module, rows, policy.end_ids, logprobs=True)
    assert [part.training for part in policy.module.modules()] == modes
    encoded = [
        Encoded([*row.prompt, *row.tokens], [False] * len(row.prompt) + [True] * len(row.tokens), truncated=False)
        for row in rows
    ]
    batch = TokenTable(encoded, policy.pad_id).batch(np.arange(len(rows)))
    with torch.no_grad():
        logits = policy.logits(batch)
        found = policy.token_logprobs(batch, temperature)
        again = policy.token_scores(batch, temperature, entropy=True)
    assert found.tolist() == pytest.approx([value for row in rows for value in row.logprobs], abs=1e-4)
    assert torch.equal(found, again.logprobs)
    assert torch.allclose(
        again.entropy, torch.distributions.Categorical(logits=logits / temperature).entropy(), atol=1e-5
    )


@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_is_on_where_it_is_wanted_only(
    start: Path, make_model: Callable[..., Any], checkpointing: bool
) -> None:
    policy = load_policy(start, SFTSettings(gradient_checkpointing=checkpointing))
    for part in policy.module.modules():
        if hasattr(part, "attention_dropout"):
            part.attention_dropout = 0.5
    batch = table_of(policy).batch(np.arange(len(WORDS)))
    passes: list[None] = []
    policy.module.model.layers[0].input_layernorm.register_forward_pre_hook(lambda *_: passes.append(None))
    for dropout in (False, True):
        policy.train(dropout)
        first, second = (policy.answer_logprobs(batch) for _ in range(2))
        assert torch.equal(first, second) != dropout
    passes.clear()
    first.sum().backward()
    assert len(passes) == checkpointing


def test_bfloat16_autocast_stays_close_and_keeps_float32_weights(start: Path) -> None:
    plain, low = load_policy(start, SFTSettings()), load_policy(start, SFTSettings(bf16=True))
    assert low.autocast is torch.bfloat16
    assert plain.autocast is None
    assert {p.dtype for p in low.module.parameters()} == {torch.float32}
    batch = table_of(plain).batch(np.arange(len(ROWS)))
    with torch.no_grad():
        exact, rounded = plain.answer_logprobs(batch), low.answer_logprobs(batch)
    assert not torch.equal(exact, rounded)
    assert torch.allclose(exact, rounded, rtol=0.02)


def test_weights_may_be_held_in_bfloat16(start: Path) -> None:
    policy = load_policy(start, SFTSettings(dtype="bfloat16", bf16=True))
    assert {p.dtype for p in policy.module.parameters()} == {torch.bfloat16}
    assert policy.autocast is None


def test_a_save_is_whole_or_not_there(
    start: Path, tmp_path: Path, make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(start)
    out = tmp_path / "out"
    save_checkpoint(make_model(seed=1), tokenizer, out)
    (out / "notes.txt").write_text("keep me")
    (out / "model-00001-of-00002.safetensors").write_text("of an older, larger model")
    moved: list[str] = []
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        assert not (out / "config.json").exists()
        moved.append(self.name)
        if self.name == "model.safetensors":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing)
        with pytest.raises(OSError, match="No space"):
            save_checkpoint(make_model(seed=2), tokenizer, out)
    with pytest.raises(InputError, match="cannot load the model"):
        load_policy(out, OptimSettings())
    save_checkpoint(make_model(seed=2), tokenizer, out)
    saved = AutoModelForCausalLM.from_pretrained(out)
    assert torch.equal(saved.lm_head.weight, make_model(seed=2).lm_head.weight)
    assert AutoTokenizer.from_pretrained(out).chat_template == tokenizer.chat_template
    assert (out / "notes.txt").read_text() == "keep me"
    assert sorted(out.glob("*.safetensors")) == [out / "model.safetensors"]
    assert not (out / ".saving").exists()
    assert "model.norm.weight" in load_file(out / "model.safetensors")


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with pytest.raises(RuntimeError), torch_threads(before + 1):
        raise RuntimeError
    with torch_threads(None):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_a_tiny_model_trains_on_one_thread(start: Path) -> None:
    policy = load_policy(start, SFTSettings())
    assert policy.threads(SFTSettings()) == 1
    assert policy.threads(SFTSettings(threads=3)) == 3


def test_metrics_after_the_checkpoint_are_taken_back(tmp_path: Path) -> None:
    run = TrainingRun(tmp_path / "run", "key")
    assert not (tmp_path / "run").exists()
    run.begin()
    for step in (1, 2, 3):
        run.log({"step": step, "loss": 1.0 / step})
    run.checkpoint({"step": 2})
    run.log({"step": 4, "loss": 0.1})
    run.close()
    reopened = TrainingRun(tmp_path / "run", "key")
    assert reopened.restore() == {"step": 2, "key": "key"}
    reopened.close()
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert text == '{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 0.5}\n'
    other = TrainingRun(tmp_path / "run", "another key")
    assert other.restore() is None
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_what_is_kept_is_found_under_its_own_key_alone(tmp_path: Path) -> None:
    run = TrainingRun(tmp_path / "run", "key")
    assert run.kept("reference", "a") is None
    run.keep("reference", "a", torch.arange(3))
    assert torch.equal(run.kept("reference", "a"), torch.arange(3))
    assert run.kept("reference", "b") is None
    assert run.kept("other", "a") is None
    run.close()
    other = TrainingRun(tmp_path / "run", "another key")  # another training may find it too
    other.begin()
    assert torch.equal(other.kept("reference", "a"), torch.arange(3))


def test_without_torch_the_extra_is_named(start: Path) -> None:
    code = """
import sys
sys.modules["torch"] = None
from arenaloop.errors import MissingExtraError
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.models.local import LocalModel
checkpoint_fingerprint(sys.argv[1])
try:
    import arenaloop.train.losses
except MissingExtraError as error:
    print(error)
try:
    LocalModel("org/model")
except MissingExtraError as error:
    print(error)
"""
    out = subprocess.run(
        [sys.executable, "-c", code, str(start)], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.splitlines() == [
        "training needs an optional dependency: pip install 'arenaloop[train]'",
        "local models needs an optional dependency: pip install 'arenaloop[train]'",
    ]


def test_damaged_weights_are_the_users_to_mend(start: Path, tmp_path: Path) -> None:
    shutil.copytree(start, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="cannot load the model"):
        load_policy(tmp_path / "model", SFTSettings(device="cpu"))


@pytest.mark.parametrize("device", ["nothing", "cuda:99"])
def test_a_device_that_is_not_there_is_named(start: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=f"device '{device}' cannot be used"):
        load_policy(start, SFTSettings(device=device))


def test_a_full_disk_is_a_storage_error_whoever_says_it(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(start, SFTSettings(device="cpu"))

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(policy.module, "save_pretrained", full)
        with pytest.raises(StorageError, match="No space left"):
            save_checkpoint(policy.module, policy.tokenizer, tmp_path / "model")
    run = TrainingRun(tmp_path / "run", "key")
    run.begin()
    (tmp_path / "run" / "checkpoint.tmp").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="cannot write to"):
        run.checkpoint({"step": 1, "module": policy.module.state_dict()})


def families() -> dict[str, Any]:
    small = {**SIZES, "num_key_value_heads": 4}
    return {
        "llama, tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
        "qwen2": Qwen2Config(**SIZES),
        "mistral": MistralConfig(**SIZES, sliding_window=None),
        "gpt2": GPT2Config(**{**small, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
        "gpt_neox": GPTNeoXConfig(**small),
        "phi (bias)": PhiConfig(**small),
        "gemma2": Gemma2Config(**SIZES, head_dim=8, sliding_window=8, query_pre_attn_scalar=8),
        "granite": GraniteConfig(**SIZES, logits_scaling=2.0),
        "cohere": CohereConfig(**SIZES),
    }


@pytest.mark.parametrize("name", list(families()))
def test_log_probabilities_by_blocks_are_those_by_whole_logits(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With their gradients; a model that does something to its logits is read by its whole logits."""
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(families()[name]).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(start).save_pretrained(tmp_path)
    policy = load_policy(tmp_path, DPOSettings())
    assert policy.chunked == (name not in ("gemma2", "granite", "cohere"))
    batch = table_of(policy).batch(np.arange(len(WORDS)))
    whole = policy.token_scores(batch, 0.7, entropy=True, reference=policy)
    whole.logprobs.sum().backward()
    expected = {key: p.grad.clone() for key, p in policy.module.named_parameters() if p.grad is not None}
    policy.module.zero_grad()
    monkeypatch.setattr("arenaloop.train.policy.block_width", lambda *_: 5)
    monkeypatch.setattr("arenaloop.train.head.block_width", lambda *_: 5)
    if policy.chunked:  # no logits are made
        monkeypatch.setattr(Policy, "logits", None)
    parts = policy.token_scores(batch, 0.7, entropy=True, reference=policy)
    parts.logprobs.sum().backward()
    for one, other in zip(
        (whole.logprobs, whole.entropy, whole.divergence),
        (parts.logprobs, parts.entropy, parts.divergence),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-5)
    assert torch.allclose(parts.divergence, torch.zeros(()), atol=1e-6)
    for key, gradient in expected.items():
        found = dict(policy.module.named_parameters())[key].grad
        assert (found - gradient).norm() < 1e-5 * (1 + gradient.norm()), key
