"""GGUF files against the models that they were written from, and against `transformers`' own reader of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf_model import SPECIAL, TEXTS, interleaved, module, tokenizer, write_gguf
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from arenaloop.cli import app
from arenaloop.config import ModelSettings, TargetSettings
from arenaloop.errors import InputError, MissingExtraError
from arenaloop.models import gguf as reader
from arenaloop.models.checkpoint import end_ids
from arenaloop.models.gguf import ARCHITECTURES, PRETOKENIZERS, convert, converted
from arenaloop.specs import contestant
from arenaloop.specs.start import start
from arenaloop.types import Message, Request, Sampling

torch.set_num_threads(1)
Q8 = gguf.GGMLQuantizationType.Q8_0
MESSAGES: list[Message] = [{"role": "user", "content": "What is 12 plus 30?"}]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "arenaloop" / "gguf"


@pytest.fixture(scope="module")
def smol(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A file in SmolLM2's form, its model and its tokenizer."""
    tokens = tokenizer("smollm")
    model = module("llama", len(tokens))
    return write_gguf(tmp_path_factory.mktemp("smol") / "tiny-smol.gguf", model, tokens), model, tokens


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("architecture", "cut"), [("llama", "smollm"), ("llama", "llama-bpe"), ("qwen2", "qwen2")])
def test_logits_are_the_original_model_s(tmp_path: Path, architecture: str, cut: str, tied: bool) -> None:
    tokens = tokenizer(cut)
    model = module(architecture, len(tokens), tied=tied)
    found = converted(write_gguf(tmp_path / "m.gguf", model, tokens, cut))
    loaded = AutoModelForCausalLM.from_pretrained(found)
    ids = tokens(TEXTS[0])["input_ids"]
    assert type(loaded).__name__ == ARCHITECTURES[architecture]
    torch.testing.assert_close(logits(loaded, ids), logits(model, ids), rtol=1e-5, atol=1e-5)
    assert loaded.config.tie_word_embeddings is tied
    assert end_ids(AutoTokenizer.from_pretrained(found), loaded) == {2}


def test_transformers_own_reader_gives_the_same_logits(smol: tuple[Path, Any, Any]) -> None:
    file, _, tokens = smol
    theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    ours = AutoModelForCausalLM.from_pretrained(converted(file))
    ids = tokens(TEXTS[2])["input_ids"]
    torch.testing.assert_close(logits(ours, ids), logits(theirs, ids), rtol=1e-5, atol=1e-5)


def test_quantised_weights_are_within_half_a_step(tmp_path: Path) -> None:
    """Q8_0: a block of 32 has one scale, its largest value over 127."""
    tokens = tokenizer("smollm")
    model = module("llama", len(tokens))
    found = converted(write_gguf(tmp_path / "m.gguf", model, tokens, quantised=Q8))
    loaded = dict(AutoModelForCausalLM.from_pretrained(found).named_parameters())
    for name, parameter in model.named_parameters():
        ours, original = loaded[name].detach().numpy(), parameter.detach().numpy()
        if original.ndim < 2:
            np.testing.assert_array_equal(ours, original)
            continue
        steps = np.abs(original.reshape(-1, 32)).max(1, keepdims=True) / 127
        # the scale itself is a 16-bit float
        assert (np.abs(ours - original).reshape(-1, 32) <= 0.5 * steps + 2**-11 * 127 * steps).all(), name
        assert not np.array_equal(ours, original)


def test_rotary_pairs_are_put_apart() -> None:
    rows = np.arange(48.0).reshape(24, 2)
    np.testing.assert_array_equal(reader._apart(interleaved(rows, 3), 3), rows)
    # by hand: one head of four rows, whose pairs (0, 2) and (1, 3) stand side by side in the file
    np.testing.assert_array_equal(reader._apart(np.array([0.0, 2, 1, 3]), 1), [0, 1, 2, 3])


@pytest.mark.parametrize("cut", PRETOKENIZERS)
def test_the_tokenizer_is_exact(tmp_path: Path, cut: str) -> None:
    tokens = tokenizer(cut)
    file = write_gguf(tmp_path / "m.gguf", module("llama", len(tokens)), tokens, cut)
    ours = AutoTokenizer.from_pretrained(converted(file))
    spelled = [
        "".join(SPECIAL),
        "a<|im_end|> b <tool_call>x",
        "  two  blanks\n\n\ttab\r\n",
        "x1234567.89e-10",
        "’s I'LL",
    ]
    for text in [*TEXTS, *spelled]:
        ids = ours(text, add_special_tokens=False)["input_ids"]
        assert ids == tokens(text, add_special_tokens=False)["input_ids"], text
        assert ours.decode(ids) == text
    assert ours.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>user\nWhat is 12 plus 30?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert {token.content: token.special for token in ours.added_tokens_decoder.values()} == (
        dict.fromkeys(SPECIAL, True) | {"<tool_call>": False}
    )
    assert (ours.bos_token, ours.eos_token, ours.pad_token, ours.unk_token) == (
        "<|im_start|>", "<|im_end|>", "<|im_end|>", "<|endoftext|>",
    )  # fmt: skip


def test_digits_stand_alone(smol: tuple[Path, Any, Any]) -> None:
    """What `transformers`' own reader forgets of SmolLM2's tokenizer."""
    ours = AutoTokenizer.from_pretrained(converted(smol[0]))
    assert ours.convert_ids_to_tokens(ours("2024")["input_ids"]) == ["2", "0", "2", "4"]


@pytest.fixture(scope="module")
def read_back(smol: tuple[Path, Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("read-back")
    convert(smol[0], out)
    return AutoTokenizer.from_pretrained(out)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(read_back: Any, text: str) -> None:
    ids = read_back(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert read_back.decode(ids) == text


# ---------------------------------------------------------------------- as a model


def test_it_is_converted_once(smol: tuple[Path, Any, Any], cache: Path, tmp_path: Path) -> None:
    first = converted(smol[0])
    made = (first / "model.safetensors").stat().st_mtime_ns
    copy = tmp_path / "copy.GGUF"
    copy.write_bytes(smol[0].read_bytes())
    assert converted(copy) == converted(str(smol[0])) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == made
    assert [path.name for path in cache.iterdir()] == [first.name]


async def answers(file: Path) -> tuple[str, str]:
    made: Any = contestant(ModelSettings(spec=f"hf:{file}"))
    request = Request(tuple(MESSAGES), Sampling(temperature=0.0, max_tokens=6))
    completion = await made.model.complete(request)
    await made.model.aclose()
    return made.name, completion.text


def test_a_file_answers_and_is_trained(smol: tuple[Path, Any, Any], tmp_path: Path) -> None:
    """As a contestant under the file's name, as a recipe's target, and as where a training starts."""
    import asyncio

    file, model, tokens = smol
    name, text = asyncio.run(answers(file))
    prompt = tokens.apply_chat_template(MESSAGES, tokenize=True, add_generation_prompt=True)["input_ids"]
    expected = model.generate(torch.tensor([prompt]), max_new_tokens=6, do_sample=False)[0, len(prompt) :]
    assert (name, text) == ("tiny-smol", tokens.decode(expected, skip_special_tokens=True))
    origin = start(TargetSettings(model=f"hf:{file}"), 0, tmp_path)
    origin.check()
    assert origin.path == str(converted(file))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "Say 42.", "completion": "42"}) + "\n")
    line = ["train", "sft", "--model", f"hf:{file}", "--data", rows, "--out", tmp_path / "sft"]
    done = CliRunner().invoke(
        app, [*map(str, line), "--set=max_steps=2", "--set=learning_rate=1e-3", "--set=log_every=1"]
    )
    assert done.exit_code == 0, done.output
    first, last = (json.loads(step) for step in (tmp_path / "sft" / "metrics.jsonl").read_text().splitlines())
    assert last["loss"] < first["loss"]


# ---------------------------------------------------------------------- what is refused


def refused(file: Path, cache: Path) -> str:
    with pytest.raises(InputError) as caught:
        converted(file)
    assert not list(cache.glob("*"))  # nothing half made is left
    said = str(caught.value)
    assert said.startswith(f"{file}: ")
    assert "\n" not in said
    return said.removeprefix(f"{file}: ")


def test_other_models_are_refused(tmp_path: Path, cache: Path) -> None:
    tokens = tokenizer("smollm")
    model, file = module("llama", len(tokens)), tmp_path / "m.gguf"

    def said(**changes: Any) -> str:
        return refused(write_gguf(file, model, tokens, **changes), cache)

    assert said(architecture="gemma") == "architecture 'gemma'; llama and qwen2 are read"
    assert said(model_kind="llama") == "tokenizer llama, smollm; gpt2 with gpt-2, smollm, llama-bpe, qwen2 is read"
    assert said(cut="deepseek-llm").startswith("tokenizer gpt2, deepseek-llm; ")
    assert said(leave_out="blk.1.attn_v.weight") == "its tensors lack blk.1.attn_v.weight"
    changed = "is not read, and may change what the model computes"
    assert said(more={"llama.rope.scaling.type": "yarn"}) == f"llama.rope.scaling.type {changed}"
    assert said(more={"llama.expert_count": 8}) == f"llama.expert_count {changed}"
    assert "differ in size" in said(more={"llama.rope.dimension_count": 16})
    nothing = dict.fromkeys(("attention.key_length", "attention.value_length", "rope.dimension_count"), 0)
    assert said(more={f"llama.{name}": length for name, length in nothing.items()})
    model.config.intermediate_size = 160
    assert said() == "blk.0.ffn_gate.weight is (192, 128), where its metadata asks for (160, 128)"


def test_a_tensor_too_many_is_refused(tmp_path: Path, cache: Path) -> None:
    tokens = tokenizer("smollm")
    model = module("qwen2", len(tokens))
    file = write_gguf(tmp_path / "m.gguf", model, tokens, architecture="llama")  # which has no biases
    assert refused(file, cache) == "its tensor blk.0.attn_k.bias is not read, and may change what the model computes"


def test_merges_of_tokens_that_it_lacks_are_refused(smol: tuple[Path, Any, Any], tmp_path: Path, cache: Path) -> None:
    whole = smol[0].read_bytes()
    at = whole.index("\u0120".encode(), whole.index(b"tokenizer.ggml.merges"))
    file = tmp_path / "damaged.gguf"
    file.write_bytes(whole[:at] + "\u0121".encode() + whole[at + 2 :])
    assert "out of vocabulary" in refused(file, cache)


def test_damaged_files_are_refused(smol: tuple[Path, Any, Any], tmp_path: Path, cache: Path) -> None:
    whole, file = smol[0].read_bytes(), tmp_path / "damaged.gguf"
    for damaged in (whole[:10], whole[: len(whole) // 3], whole[:-100], b"GGUF" + bytes(40), b"PK" + whole[2:], b""):
        file.write_bytes(damaged)
        refused(file, cache)


@settings(max_examples=20, deadline=None)
@given(at=st.integers(0, 9_000), byte=st.integers(0, 255))
def test_a_flipped_byte_ends_in_a_line_or_a_model(
    smol: tuple[Path, Any, Any], tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
) -> None:
    """Nothing that stands in the head of a file raises anything else."""
    folder = tmp_path_factory.mktemp("flipped")
    damaged = bytearray(smol[0].read_bytes())
    damaged[at] = byte
    (folder / "m.gguf").write_bytes(damaged)
    said = ""
    try:
        convert(folder / "m.gguf", folder)
    except InputError as error:
        said = str(error)
    assert "\n" not in said


def test_a_missing_file_and_a_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smol: Any) -> None:
    with pytest.raises(InputError, match=r"none\.gguf: No such file"):
        converted(tmp_path / "none.gguf")
    monkeypatch.setattr(reader, "find_spec", lambda name: None if name == "gguf" else True)
    with pytest.raises(MissingExtraError, match=r"pip install 'arenaloop\[gguf\]'"):
        converted(smol[0])
