from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from arenaloop.errors import ConfigError  # noqa: E402
from arenaloop.models.checkpoint import end_ids  # noqa: E402
from arenaloop.sandbox.players import Player  # noqa: E402
from arenaloop.sandbox.target import build_target, build_tokenizer  # noqa: E402
from arenaloop.sandbox.tasks import FAMILIES, draw  # noqa: E402
from arenaloop.train.encoding import ChatEncoder  # noqa: E402

CHAT = [{"role": "user", "content": "reverse: kalom"}, {"role": "assistant", "content": "molak"}]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_target(tmp_path_factory.mktemp("target"), seed=0)


def test_loads_as_any_checkpoint_does(directory: Path) -> None:
    assert json.loads((directory / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert (directory / "model.safetensors").exists()
    model = transformers.AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    assert 4e5 < sum(p.numel() for p in model.parameters()) < 6e5
    assert model.config.vocab_size == len(tokenizer)
    for name in ("bos", "eos", "pad"):
        assert getattr(model.generation_config, f"{name}_token_id") == getattr(tokenizer, f"{name}_token_id")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.padding_side == "left"


def test_sampling_and_the_loss_agree_on_what_ends_a_turn(directory: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    module = transformers.AutoModelForCausalLM.from_pretrained(directory)
    assert end_ids(tokenizer, module) == ChatEncoder(tokenizer, 64).end_ids == {tokenizer.eos_token_id}


def test_the_prompt_is_a_prefix_of_the_conversation(directory: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    prompt = tokenizer.apply_chat_template(CHAT[:1], add_generation_prompt=True, return_dict=True)["input_ids"]
    whole = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    assert whole["input_ids"][: len(prompt)] == prompt
    answer = whole["input_ids"][len(prompt) :]
    assert tokenizer.convert_ids_to_tokens(answer) == [*"molak", tokenizer.eos_token]
    assert whole["assistant_masks"] == [0] * len(prompt) + [1] * len(answer)
    assert tokenizer.convert_ids_to_tokens(prompt) == [
        "<|begin|>",
        "<|user|>",
        "reverse: ",
        *"kalom",
        "<|assistant|>",
    ]
    turns = tokenizer.apply_chat_template([{"role": "system", "content": "Hi"}, *CHAT, CHAT[0]], tokenize=False)
    assert turns == ("<|begin|><|system|>Hi<|user|>reverse: kalom<|assistant|>molak<|end|><|user|>reverse: kalom")


def test_one_token_per_family_and_character() -> None:
    tokenizer = build_tokenizer()
    for task in draw(100, seed=0):
        text = task.prompt.last_user
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(ids) == 1 + len(task.argument)
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(tokenizer(task.answer)["input_ids"]) == task.answer
    assert len({tokenizer(f"{name}: ")["input_ids"][0] for name in FAMILIES}) == len(FAMILIES)


def test_conversations_are_short(directory: Path) -> None:
    # a batch is padded to its longest row, so one family of long rows would slow every training down
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    longest = max(
        len(
            tokenizer.apply_chat_template(
                [*task.prompt.messages, {"role": "assistant", "content": task.answer}], return_dict=True
            )["input_ids"]
        )
        for task in draw(2000, seed=0)
    )
    assert longest == 19  # spell: 3 + 5 letters, 1 + 9 answered, and the end


def test_any_unicode_has_tokens() -> None:
    tokenizer = build_tokenizer()
    text = "a\né漢\U0001f600\u2028 ~"
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    unknown = tokenizer.unk_token
    assert tokens == ["a", "\n", unknown, unknown, unknown, unknown, " ", "~"]


def test_seeds_fix_the_weights_and_leave_the_caller_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    paths = [build_target(tmp_path / str(i), seed, width=16, layers=1, heads=2) for i, seed in enumerate((1, 1, 2))]
    assert torch.equal(before, torch.random.get_rng_state())
    weights = [(path / "model.safetensors").read_bytes() for path in paths]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize("sizes", [{"width": 30, "heads": 4}, {"width": 0}, {"layers": 0}])
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, sizes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build_target(tmp_path, 0, **sizes)


@pytest.mark.slow
def test_it_learns(tmp_path: Path) -> None:
    """Two hundred steps on one family's demonstrations teach it that family."""
    path = build_target(tmp_path, seed=0)
    model = transformers.AutoModelForCausalLM.from_pretrained(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tasks = draw(6500, seed=0, weights={"uppercase": 1.0})
    oracle = Player("oracle")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for start in range(0, 6400, 32):
        chats = [
            [*task.prompt.messages, {"role": "assistant", "content": oracle.answer(task.prompt.last_user)}]
            for task in tasks[start : start + 32]
        ]
        batch = tokenizer.apply_chat_template(
            chats, padding=True, return_tensors="pt", return_dict=True, return_assistant_tokens_mask=True
        )
        labels = batch["input_ids"].masked_fill(torch.as_tensor(batch["assistant_masks"]) == 0, -100)
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    held_out = tasks[6400:]
    prompts = tokenizer.apply_chat_template(
        [list(task.prompt.messages) for task in held_out],
        add_generation_prompt=True,
        padding=True,
        return_tensors="pt",
        return_dict=True,
    )
    out = model.generate(**prompts, max_new_tokens=12, do_sample=False)
    texts = tokenizer.batch_decode(out[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
    right = sum(text == task.answer for text, task in zip(texts, held_out, strict=True))
    assert right >= 70
