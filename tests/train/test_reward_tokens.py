"""Reward tokens: where they stand, how they begin, are never said, and how the saved model asks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from arenaloop.config import SFTSettings
from arenaloop.errors import ConfigError, InputError
from arenaloop.models import loaded, local
from arenaloop.models.decoding import Continuation, decode
from arenaloop.train.encoding import ChatEncoder, Encoded
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.reward_tokens import RewardTokens, add_reward_tokens
from arenaloop.types import Message, Request, Sampling

TURNS = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}"
PROMPT = "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
MARKED = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|end|>' }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}"
    "{% endfor %}" + PROMPT
)
EVERY_TURN = (  # as Llama 2's
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '<|user|>' + m['content'] + '<|assistant|>' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('no system turns') }}{% endif %}{% endfor %}"
)
ASKED: list[list[Message]] = [
    [{"role": "user", "content": "ab"}],
    [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "c"}, {"role": "user", "content": "d"}],
]
SETTINGS = SFTSettings(max_length=64, threads=1)


def ids_of(encoder: ChatEncoder, turns: list[Message]) -> list[int]:
    found = encoder.prompt(turns)
    assert isinstance(found, list)
    return found


@pytest.fixture
def load(make_model: Callable[..., Any], make_tokenizer: Callable[..., Any], tmp_path: Path) -> Callable[..., Policy]:
    """A policy of a kind of model and a chat template; with `bos`, its tokenizer has a token that begins texts."""

    def saved(kind: str = "llama", template: str = TURNS + PROMPT, *, bos: bool = False, **changes: Any) -> Policy:
        tokenizer = make_tokenizer(template)
        if bos:
            tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
        make_model(kind, **{"vocab_size": len(tokenizer), **changes}).save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        return load_policy(tmp_path / "model", SETTINGS)

    return saved


@pytest.mark.parametrize(
    ("kind", "template", "bos", "at"),
    [
        ("llama", "{{ bos_token }}" + TURNS + PROMPT, True, 1),
        ("llama", "{{ '<|begin|>' }}" + TURNS + PROMPT, True, 1),
        ("llama", EVERY_TURN, True, 1),
        ("llama", "{{- bos_token -}}\n" + MARKED, True, 1),
        ("qwen2", TURNS + PROMPT, False, 0),
        ("qwen2", MARKED + "\n", False, 0),
        ("qwen2", TURNS + PROMPT, True, 0),  # there is one, and the template writes none
        ("llama", "  {% set x = 'a' %}\n\n" + TURNS + PROMPT + "\n\n", False, 0),
        ("llama", "{%- if true %}" + TURNS + PROMPT + "{% endif %}", False, 0),
    ],
    ids=["begun", "begun by name", "every turn", "marked", "none", "marked, none", "unused", "blanks", "statement"],
)
def test_the_token_stands_where_the_saved_template_writes_it(
    load: Callable[..., Policy], tmp_path: Path, kind: str, template: str, bos: bool, at: int
) -> None:
    policy = load(kind, template, bos=bos)
    ends = policy.end_ids
    encoder = policy.encoder(SETTINGS)
    before = [ids_of(encoder, turns) for turns in ASKED]
    answer: list[Message] = [{"role": "assistant", "content": "yes"}]
    told = encoder.encode(ASKED[0], answer, "last", "row")
    tokens = add_reward_tokens(policy, 2, 0)
    best, worst = policy.tokenizer.convert_tokens_to_ids(["<reward_0>", "<reward_1>"])
    assert (tokens.ids, policy.end_ids) == ((best, worst), ends)
    assert [encoder.prompt(turns) for turns in ASKED] == before  # as before, until it is asked for the best
    assert all(tokens.insert(ids, 1) == [*ids[:at], worst, *ids[at:]] for ids in before)
    tokens.ask_for_the_best(policy)
    policy.save(tmp_path / "saved")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    for turns, ids in zip(ASKED, before, strict=True):
        found = tokenizer.apply_chat_template(list(map(dict, turns)), add_generation_prompt=True, return_dict=False)
        assert found == [*ids[:at], best, *ids[at:]]
    # rows of the saved model carry the loss where they did
    again = load_policy(tmp_path / "saved", SETTINGS)
    assert again.end_ids == ends
    assert isinstance(told, Encoded)
    assert again.encoder(SETTINGS).encode(ASKED[0], answer, "last", "row") == tokens.condition(told, 0)
    # and can be trained under its tokens again, which stay what they are
    weights = again.module.get_input_embeddings().weight.detach().clone()
    more = add_reward_tokens(again, 2, 5)
    assert (more.ids, more.template) == (tokens.ids, tokens.template)
    assert torch.equal(again.module.get_input_embeddings().weight, weights)
    assert [again.encoder(SETTINGS).prompt(turns) for turns in ASKED] == before


def test_a_vocabulary_that_begins_texts_with_a_blank(make_model: Callable[..., Any], tmp_path: Path) -> None:
    """As sentencepiece's do: what stands after a token is written as it was at the beginning."""
    vocabulary = {token: at for at, token in enumerate(["<unk>", "</s>", "▁", "▁hi", "hi", *"abcdefghinorstuqw"])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>", continuing_subword_prefix=""))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")
    tokenizer.chat_template = "{% for m in messages %}{{ 'hi ' + m['content'] + eos_token }}{% endfor %}"
    make_model(vocab_size=len(tokenizer)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    policy = load_policy(tmp_path / "model", SETTINGS)
    plain = ids_of(policy.encoder(SETTINGS), [{"role": "user", "content": "a"}])
    assert plain[0] == vocabulary["▁hi"]
    tokens = add_reward_tokens(policy, 2, 0)
    tokens.ask_for_the_best(policy)
    assert policy.encoder(SETTINGS).prompt([{"role": "user", "content": "a"}]) == [tokens.ids[0], *plain]


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_the_mean_and_noise_of_one_deviation(load: Callable[..., Policy], tied: bool) -> None:
    kind = "llama" if tied else "qwen2"
    policy = load(kind, hidden_size=512)
    matrices = [policy.module.get_input_embeddings().weight, policy.module.get_output_embeddings().weight]
    old = [matrix.detach().clone() for matrix in matrices]
    tokens = add_reward_tokens(policy, 4, 7)
    new = [policy.module.get_input_embeddings().weight, policy.module.get_output_embeddings().weight]
    assert (new[0] is new[1]) == tied
    for was, now in zip(old, new, strict=True):
        assert torch.equal(now[: len(was)], was)
        noise = (now[list(tokens.ids)] - was.mean(dim=0)) / was.std(dim=0)
        assert abs(float(noise.detach().mean())) < 0.1
        assert float(noise.detach().std()) == pytest.approx(1, abs=0.05)
        assert float(torch.corrcoef(noise.detach())[0, 1]) == pytest.approx(
            0, abs=0.15
        )  # the tokens part from each other
    others = [add_reward_tokens(load(kind, hidden_size=512), 4, seed) for seed in (7, 8)]
    assert [each.ids for each in others] == [tokens.ids] * 2


def test_the_seed_decides_the_noise_and_nothing_else_is_drawn(load: Callable[..., Policy]) -> None:
    found = []
    for seed in (7, 7, 8):
        policy = load("qwen2")
        torch.manual_seed(3)
        add_reward_tokens(policy, 2, seed)
        assert float(torch.rand(1)) == pytest.approx(0.0042, abs=1e-4)
        found.append(policy.module.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not torch.equal(found[0]["lm_head.weight"], found[2]["lm_head.weight"])


def draws(policy: Policy, forbidden: Any) -> set[int]:
    """The tokens of 10,000 draws at temperature 2."""
    rows = [Continuation([2, 8, at % 40 + 6], 100, 2.0, seed=at) for at in range(100)]
    with policy.evaluating():
        decode(policy.module, rows, frozenset(), forbidden=forbidden)
    return {token for row in rows for token in row.tokens}


def test_they_are_never_said(load: Callable[..., Policy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load(vocab_size=48)  # padded: the first row of the new ones is there
    plain = load_policy(tmp_path / "model", SETTINGS)
    ids = add_reward_tokens(policy, 4, 0).ids
    assert plain.forbidden is None
    assert set(ids) <= draws(policy, None)  # they would be
    assert not set(ids) & draws(policy, policy.forbidden)
    # nor by what loads the saved model
    policy.save(tmp_path / "saved")
    assert load_policy(tmp_path / "saved", SETTINGS).forbidden.tolist() == sorted(ids)
    told: list[Any] = []
    monkeypatch.setattr(local, "decode", lambda *_, forbidden, **__: told.append(forbidden.tolist()))
    monkeypatch.setattr(loaded.Loaded, "finish", lambda *_: None)
    local.LocalModel(tmp_path / "saved").generate([Request((ASKED[0][0],), Sampling())])
    assert told == [sorted(ids)]
    module: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    torch.manual_seed(0)
    said = module.generate(
        torch.tensor([[2, 8, 9]] * 100), do_sample=True, temperature=2.0, top_k=0, min_new_tokens=99, max_new_tokens=99
    )
    assert said.shape == (100, 102)
    assert not module.generation_config._from_model_config
    assert not set(ids) & set(said.flatten().tolist())


@pytest.mark.parametrize(
    ("rows", "never"),
    [(46, None), (49, None), (56, [48])],
    ids=["larger tokenizer", "larger vocabulary", "tokens that the tokenizer has lost"],
)
def test_a_vocabulary_that_grew_without_its_tokenizer_is_refused(
    load: Callable[..., Policy], rows: int, never: list[int] | None
) -> None:
    policy = load(vocab_size=rows)
    policy.module.generation_config.suppress_tokens = never
    told = rf"has 47 tokens, the vocabulary of its model {rows}: one of them grew"
    with pytest.raises(InputError, match="lacks tokens that its model is never to say" if never else told):
        add_reward_tokens(policy, 2, 0)


def test_rows_of_a_padded_vocabulary_are_used(load: Callable[..., Policy]) -> None:
    policy = load(vocab_size=56)
    assert add_reward_tokens(policy, 2, 0).ids == (47, 48)
    assert policy.module.get_input_embeddings().weight.shape[0] == 56


@pytest.mark.parametrize("template", ["{{ 'x<reward_0>' }}" + TURNS, "{{ raise_exception('no') }}"])
def test_a_template_that_cannot_write_the_token_is_refused(load: Callable[..., Policy], template: str) -> None:
    with pytest.raises(ConfigError, match="cannot be made to write <reward_0> right after what begins a text"):
        add_reward_tokens(load(template=template), 2, 0)


def test_a_row_under_a_token_carries_the_loss_where_it_did() -> None:
    tokens = RewardTokens((90, 91), bos=5, template=None)
    row = Encoded([5, 7, 8, 9], [False, False, True, True], truncated=True, spelled=True)
    assert tokens.condition(row, 1) == Encoded([5, 91, 7, 8, 9], [False, False, False, True, True], True, True)
    assert tokens.insert([7, 5], 0) == [90, 7, 5]
    assert tokens.insert([], 0) == [90]
