"""The local model against `transformers`' own generation, and its contract as a chunked model."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3NextConfig,
)

from arenaloop.errors import ConfigError, InputError, MissingExtraError, StoppedError
from arenaloop.models import checkpoint, decoding, local
from arenaloop.models.base import NOTICE, ChunkedModel
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.models.local import LocalModel
from arenaloop.types import Completion, Request, Sampling, Status

torch.set_num_threads(1)

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|turn|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|turn|>", "<|user|>", "<|assistant|>", "<|unk|>", "<|extra|>"]
CHARACTERS = "abcdefghijklmnopqrstuvwxyz "


def save_model(path: Path, *, template: str | None = TEMPLATE, eos: list[int] | None = None, window: int = 96) -> Path:
    """A random Llama, wide enough at its output that greedy texts differ and end at different lengths."""
    vocabulary = {token: at for at, token in enumerate([*SPECIAL, *CHARACTERS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unk|>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        unk_token="<|unk|>",
        additional_special_tokens=["<|turn|>", "<|user|>", "<|assistant|>", "<|extra|>"],
    )
    tokenizer.chat_template = template
    torch.manual_seed(5)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=window,
            bos_token_id=None,
            eos_token_id=eos or [1, 6],
            pad_token_id=0,
            initializer_range=0.6,
        )
    )
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("local") / "tiny")


def ask(text: str, *, sample: int = 0, seed: int = 0, **sampling: object) -> Request:
    settings = Sampling(**{"max_tokens": 40, **sampling})  # type: ignore[arg-type]
    return Request(({"role": "user", "content": text},), settings, sample, seed, key=f"{text}/{sample}/{seed}")


TEXTS = ["a", "what is this", "the quick brown fox jumps", "zz", "b c d", "hello there you", "q", "lorem ipsum dolor"]


def run(model: LocalModel, requests: list[Request]) -> list[Completion]:
    async def collect() -> list[Completion]:
        found = {}
        async for request, completion in model.complete_many(requests):
            found[request.key] = completion
        await model.aclose()
        return [found[request.key] for request in requests]

    return asyncio.run(collect())


def strip(completion: Completion) -> tuple[object, ...]:
    return completion.text, completion.status, completion.finish_reason, completion.tokens_in, completion.tokens_out


def test_greedy_answers_equal_those_of_transformers_row_by_row(path: Path) -> None:
    requests = [ask(text) for text in TEXTS]
    completions = run(LocalModel(path), requests)
    module: Any = AutoModelForCausalLM.from_pretrained(path)
    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    for request, completion in zip(requests, completions, strict=True):
        ids = tokenizer.apply_chat_template(
            list(request.messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        # token 2, the template's end of turn, is not in the generation configuration; ours finds it in the template
        out = module.generate(**ids, max_new_tokens=40, do_sample=False, eos_token_id=[1, 2, 6])
        new = out[0, ids["input_ids"].shape[1] :].tolist()
        assert completion.text == tokenizer.decode(new, skip_special_tokens=True)
        assert completion.tokens_out == len(new)
        assert completion.tokens_in == ids["input_ids"].shape[1]
        assert completion.finish_reason == ("stop" if new[-1] in (1, 2, 6) else "length")
    reasons = [completion.finish_reason for completion in completions]
    assert len({completion.tokens_out for completion in completions}) > 3, "rows must leave the batch one by one"
    assert "stop" in reasons


TINY_SIZES: dict[str, Any] = {
    "vocab_size": len(SPECIAL) + len(CHARACTERS),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "initializer_range": 0.5,
    "head_dim": 8,
}
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        Gemma2Config(**TINY_SIZES, sliding_window=8, query_pre_attn_scalar=8),  # sliding windows, capped logits
        GPT2Config(
            vocab_size=34, n_embd=32, n_layer=2, n_head=4, n_positions=96, eos_token_id=1, initializer_range=0.5
        ),
        Qwen3NextConfig(**{**TINY_SIZES, **LINEAR, **EXPERTS, "num_hidden_layers": 4}),  # linear attention, experts
    ],
    ids=lambda config: config.model_type,
)
def test_other_kinds_of_models_equal_transformers_too(path: Path, tmp_path: Path, config: PreTrainedConfig) -> None:
    torch.manual_seed(1)
    module: Any = AutoModelForCausalLM.from_config(config).eval()
    module.save_pretrained(tmp_path)
    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    tokenizer.save_pretrained(tmp_path)
    completions = run(LocalModel(tmp_path), [ask(text, max_tokens=24) for text in TEXTS])
    for text, completion in zip(TEXTS, completions, strict=True):
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        out = module.generate(**ids, max_new_tokens=24, do_sample=False, eos_token_id=[1, 2])
        new = out[0, ids["input_ids"].shape[1] :].tolist()
        assert completion.text == tokenizer.decode([t for t in new if t not in (1, 2)], skip_special_tokens=True)
        assert completion.tokens_out == len(new)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0}, {"temperature": 0.7, "top_p": 0.8}])
def test_an_answer_does_not_depend_on_its_chunk(path: Path, sampling: dict[str, Any]) -> None:
    requests = [ask(text, seed=3, **sampling) for text in TEXTS]
    together = run(LocalModel(path, chunk_size=8), requests)
    by_three = run(LocalModel(path, chunk_size=3), requests)
    alone = run(LocalModel(path, chunk_size=1), requests)
    assert [strip(c) for c in together] == [strip(c) for c in by_three] == [strip(c) for c in alone]


def test_one_chunk_may_hold_greedy_and_sampled_rows(path: Path) -> None:
    mixed = [ask("what is this"), ask("b c d", temperature=1.0, seed=1), ask("q", temperature=0.9, top_p=0.5, seed=1)]
    together = run(LocalModel(path), mixed)
    assert [strip(c) for c in together] == [strip(run(LocalModel(path), [r])[0]) for r in mixed]


def test_samples_are_reproducible_and_differ_by_sample_and_seed(path: Path) -> None:
    def texts(seed: int) -> list[str]:
        return [
            c.text for c in run(LocalModel(path), [ask("hello", sample=s, seed=seed, temperature=1) for s in range(6)])
        ]

    first = texts(0)
    assert first == texts(0)
    assert len(set(first)) > 3
    assert first != texts(1)


def test_draws_follow_the_distribution_and_top_p_cuts_it() -> None:
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    n = 4000

    def draw(top_p: float, temperature: float) -> list[float]:
        rows = [decoding.Continuation([1], 1, temperature, top_p, seed=at) for at in range(n)]
        sampler = decoding._Sampler(rows, torch.device("cpu"))
        tokens = sampler.next(probs.log().expand(n, 4), 0)
        return (torch.bincount(tokens, minlength=4) / n).tolist()

    # four standard deviations of a share at n = 4000 are at most 0.032
    assert draw(1.0, 1.0) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.032)
    squared = [0.25, 0.09, 0.0225, 0.0025]
    assert draw(1.0, 0.5) == pytest.approx([p / sum(squared) for p in squared], abs=0.032)
    assert draw(0.75, 1.0) == pytest.approx([0.625, 0.375, 0, 0], abs=0.032)
    assert draw(0.01, 1.0) == [1, 0, 0, 0]


def test_statuses(path: Path) -> None:
    model = LocalModel(path)
    cut, long = run(model, [ask("the quick brown fox jumps", max_tokens=1), ask("x" * 95)])
    assert (cut.status, cut.finish_reason, cut.tokens_out) == (Status.TRUNCATED, "length", 1)
    assert long.status is Status.ERROR
    assert long.error == "the prompt has 98 tokens, the context window 96"
    assert (cut.usd, long.usd) == (0.0, 0.0)
    # two tokens of room are left in the window, whatever max_tokens asks
    (tight,) = run(model, [ask("x" * 91, max_tokens=40)])
    assert tight.tokens_out is not None
    assert tight.tokens_out <= 2


def test_an_answer_that_is_only_the_end_of_turn_is_empty(path: Path) -> None:
    module: Any = AutoModelForCausalLM.from_pretrained(path)
    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "a"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    first = int(module(**ids).logits[0, -1].argmax())
    model = LocalModel(path)
    loaded = model._load()
    loaded.end_ids = frozenset({first})
    model._loaded = loaded
    (completion,) = run(model, [ask("a")])
    assert (completion.status, completion.finish_reason, completion.text) == (Status.EMPTY, "stop", "")
    assert completion.tokens_out == 1


def test_stop_strings_end_the_answer_and_are_cut_off(path: Path) -> None:
    (whole,) = run(LocalModel(path), [ask("what is this")])
    assert len(whole.text) > 6
    stop = whole.text[3:5]
    (cut,) = run(LocalModel(path), [ask("what is this", stop=(stop,))])
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert (cut.finish_reason, cut.status) == ("stop", Status.OK if cut.text.strip() else Status.EMPTY)
    assert cut.tokens_out < whole.tokens_out


def test_end_tokens_come_from_everywhere(path: Path) -> None:
    assert LocalModel(path)._load().end_ids == {1, 2, 6}


def test_plan_sorts_by_length_then_key_and_cuts(path: Path) -> None:
    model = LocalModel(path, chunk_size=3)
    requests = [ask(text) for text in TEXTS]
    chunks = model.plan(requests)
    assert [len(chunk) for chunk in chunks] == [3, 3, 2]
    ordered = [request for chunk in chunks for request in chunk]
    assert ordered == sorted(requests, key=lambda r: (len(r.messages[0]["content"]), r.key))
    assert chunks == model.plan(requests[::-1])
    assert isinstance(model, ChunkedModel)


def test_the_event_loop_goes_on_while_the_model_answers(path: Path) -> None:
    async def race() -> int:
        model = LocalModel(path)
        ticks = 0
        task = asyncio.create_task(model.complete(ask("hello there you", max_tokens=40)))
        while not task.done():
            ticks += 1
            await asyncio.sleep(0)
        await model.aclose()
        return ticks

    assert asyncio.run(race()) > 10


def test_closing_stops_a_running_answer_and_the_model_can_be_asked_again(path: Path) -> None:
    model = LocalModel(path)
    entered, stop = threading.Event(), threading.Event()
    loaded = model._load()
    forward = loaded.module.forward

    def slow(**arguments: object) -> object:
        entered.set()
        assert stop.wait(10)
        return forward(**arguments)

    loaded.module.forward = slow
    model._loaded = loaded

    async def close() -> None:
        task = asyncio.create_task(model.complete(ask("hello")))
        await asyncio.to_thread(entered.wait, 10)
        closing = asyncio.create_task(model.aclose())
        await asyncio.sleep(0)
        stop.set()
        await closing
        with pytest.raises(StoppedError):
            await task
        assert model._loaded is None
        assert (await model.complete(ask("hello"))).tokens_in == 8

    asyncio.run(close())


def test_a_chunk_that_does_not_fit_is_halved(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [ask(text) for text in TEXTS]
    expected = run(LocalModel(path), requests)
    decode, sizes = decoding._decode, []
    zz = AutoTokenizer.from_pretrained(path)("zz")["input_ids"]

    def small_memory(module: object, rows: list[decoding.Continuation], *rest: object) -> None:
        sizes.append(len(rows))
        decode(module, rows, *rest)  # type: ignore[arg-type]
        if len(rows) > 2 or any(row.prompt[1:-2] == zz for row in rows):
            raise torch.OutOfMemoryError

    monkeypatch.setattr(decoding, "_decode", small_memory)
    halved = run(LocalModel(path), requests)
    assert sizes == [8, 4, 2, 2, 1, 1, 4, 2, 2]
    assert halved[3].status is Status.ERROR
    assert "out of memory" in str(halved[3].error)
    assert [strip(c) for c in halved[:3] + halved[4:]] == [strip(c) for c in expected[:3] + expected[4:]]


def test_fingerprint_follows_weights_tokenizer_and_template(path: Path, tmp_path: Path) -> None:
    same = save_model(tmp_path / "same")
    assert checkpoint_fingerprint(same) == checkpoint_fingerprint(path)
    assert LocalModel(same).fingerprint == LocalModel(path, name="other", chunk_size=2).fingerprint
    marks = {checkpoint_fingerprint(same)}
    (same / "chat_template.jinja").write_text(TEMPLATE + " ")
    marks.add(checkpoint_fingerprint(same))
    module: Any = AutoModelForCausalLM.from_pretrained(same)
    with torch.no_grad():
        module.lm_head.weight[0, 0] += 1
    module.save_pretrained(same)
    marks.add(checkpoint_fingerprint(same))
    assert len(marks) == 3
    assert LocalModel(path, chat_template="{{ messages }}").fingerprint != LocalModel(path).fingerprint


def test_a_hub_id_is_known_by_its_commit_before_and_after_its_download(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    commits = {None: "c1", "main": "c1", "v2": "c2"}
    fetched: list[str | None] = []

    def download(model: str, name: str, revision: str | None = None) -> str:
        fetched.append(revision)
        if model == "org/gone":
            raise OSError("offline")
        return f"/cache/{model}/snapshots/{commits[revision]}/{name}"

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    checkpoint._commit.cache_clear()
    first, second, other = (checkpoint_fingerprint("org/model", revision) for revision in (None, "main", "v2"))
    assert first == second != other
    assert fetched == [None, "main", "v2"]
    cached = "/cache/org/model/snapshots/c1/config.json"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: cached)
    checkpoint._commit.cache_clear()
    assert checkpoint_fingerprint("org/model") == first
    assert len(fetched) == 3
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    assert checkpoint_fingerprint("org/gone") != checkpoint_fingerprint("org/gone", "v2")
    checkpoint._commit.cache_clear()


def test_a_template_of_ones_own_is_used(path: Path) -> None:
    (completion,) = run(
        LocalModel(path, chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}"), [ask("abc")]
    )
    assert completion.tokens_in == 3


def test_what_the_user_can_mend_is_one_line(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is not a directory"):
        LocalModel(tmp_path / "nothing")
    with pytest.raises(InputError, match="does not hold a model"):
        LocalModel(tmp_path)
    with pytest.raises(ConfigError, match="chunk_size"):
        LocalModel(path, chunk_size=0)
    with pytest.raises(ConfigError, match="no chat template"):
        run(LocalModel(save_model(tmp_path / "base", template=None)), [ask("a")])
    with pytest.raises(InputError, match="cannot load the model"):
        run(LocalModel(path, dtype="float99"), [ask("a")])
    refusing = "{{ raise_exception('roles must alternate') }}"
    (completion,) = run(LocalModel(path, chat_template=refusing), [ask("a")])
    assert completion.status is Status.ERROR
    assert "roles must alternate" in str(completion.error)
    monkeypatch.setattr(local, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"arenaloop\[train\]"):
        LocalModel(path)


def test_a_device_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(ConfigError, match="device 'cuda:99' cannot be used"):
        LocalModel(path, device="cuda:99").generate([ask("hello")])


def test_it_gives_the_likeliest_alternatives_of_every_token(path: Path) -> None:
    given = replace(ask("what is this", max_tokens=6), top_logprobs=5)
    plain, told = (run(LocalModel(path), [one])[0] for one in (ask("what is this", max_tokens=6), given))
    assert plain.logprobs is None
    assert told.logprobs is not None
    assert (told.text, len(told.logprobs)) == (plain.text, told.tokens_out)
    module: Any = AutoModelForCausalLM.from_pretrained(path)
    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    ids = tokenizer.apply_chat_template(
        list(given.messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        expected = module(**ids).logits[0, -1].log_softmax(-1).topk(5)
    first = {
        tokenizer.decode([at]): value for at, value in zip(expected.indices, expected.values.tolist(), strict=True)
    }
    assert told.logprobs[0] == pytest.approx(first, abs=1e-4)
    warm = replace(ask("what is this", max_tokens=6, temperature=0.7), top_logprobs=5)
    (again,) = run(LocalModel(path), [warm])
    assert again.logprobs is not None
    assert again.logprobs[0] == pytest.approx(first, abs=1e-4), "at temperature 1"


def test_a_local_judge_is_read_by_its_log_probabilities(path: Path) -> None:
    """Its whole distribution counts: a label that it would not say has a probability all the same."""
    from arenaloop.judges.pairwise import PairwiseJudge
    from arenaloop.types import Prompt, Response

    judge = PairwiseJudge(LocalModel(path), verdict="logprob", label_mass=0.0, template="short")
    request = judge.request(Prompt.of("q"), Response("", "", ("a",)), Response("", "", ("b",)), secret="s", seed=0)
    assert (request.top_logprobs, request.sampling.max_tokens) == (20, 8)
    said = Completion("1", logprobs=({"1": -0.5, "2": -1.0, "a": -3.0},))
    verdict = judge.read(Prompt.of("q"), Response("", "", ("a",)), Response("", "", ("b",)), said)
    assert verdict.score_first == pytest.approx(1 / (1 + math.exp(-0.5)))


def test_a_system_prompt_and_a_prefill_are_what_it_reads(path: Path) -> None:
    plain, led = LocalModel(path), LocalModel(path, system="be brief")
    assert plain.fingerprint != led.fingerprint
    assert plain.fingerprint == LocalModel(path, threads=1).fingerprint
    system = {"role": "system", "content": "be brief"}
    own = {"role": "user", "content": "hello"}
    by_hand = run(plain, [Request((system, own), Sampling(max_tokens=20), key="x")])[0]
    assert strip(run(led, [Request((own,), Sampling(max_tokens=20), key="x")])[0]) == strip(by_hand)
    begun = run(plain, [replace(ask("hello", max_tokens=5), prefill="so ")])[0]
    alone = run(plain, [ask("hello", max_tokens=5)])[0]
    assert begun.tokens_in == (alone.tokens_in or 0) + 3


def test_a_long_chunk_tells_how_far_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_TOLD_EVERY", 0.0)
    heard: list[str] = []
    model = LocalModel(path, name="tiny")

    async def listened() -> None:
        NOTICE.set(heard.append)
        await model.complete(ask("what is this", max_tokens=4))
        await asyncio.sleep(0)  # what another thread has said is heard on the loop
        await model.aclose()

    asyncio.run(listened())
    assert heard[0].startswith("tiny: token 1 of at most 4, 1 of 1 answers of a chunk still going, ")
    assert heard[0].endswith(" tokens/s")


@pytest.mark.slow
def test_models_that_are_loaded_at_once_import_transformers_once(path: Path) -> None:
    """In a fresh process, where it is not imported yet: two members of a pool, or of a jury."""
    program = f"""
from concurrent.futures import ThreadPoolExecutor
from arenaloop.models.checkpoint import load_checkpoint
with ThreadPoolExecutor(4) as threads:
    assert len(list(threads.map(load_checkpoint, [{str(path)!r}] * 4))) == 4
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
