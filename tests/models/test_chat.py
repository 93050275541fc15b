"""Only the chat template opens and ends turns: what a text spells stays text, in prompts and in training rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from arenaloop.models.chat import ChatTokens, closing_tag

SPECIAL = ["<|end|>", "<|user|>", "<|assistant|>", "<s>", "<<s", "<|unk|>"]
TAGS = ["<think>", "</think>", "<tool_call>"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make(template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """A tokenizer of characters with special tokens, and tags that are tokens without being special."""
    letters = [chr(code) for code in range(32, 127)] + ["\n"]
    backend = Tokenizer(models.WordLevel({token: at for at, token in enumerate([*SPECIAL, *letters])}, "<|unk|>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|end|>", unk_token="<|unk|>", additional_special_tokens=SPECIAL[1:5]
    )
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    tokenizer.chat_template = template
    return tokenizer


TOKENIZER = make()
CHAT = ChatTokens(TOKENIZER)
CONTROL = {TOKENIZER.convert_tokens_to_ids(token) for token in [*SPECIAL, *TAGS]}
PIECES = st.lists(
    st.sampled_from([*SPECIAL[:5], *TAGS, "<", "|", "<|", "|>", "end", "s", ">", "a", "\ufdd0"]), max_size=12
)


@given(PIECES, PIECES)
def test_whatever_a_text_spells_the_template_alone_writes_control_tokens(
    question: list[str], answer: list[str]
) -> None:
    messages = [{"role": "user", "content": "".join(question)}, {"role": "assistant", "content": "".join(answer)}]
    ids = CHAT.tokens(CHAT.render(messages))
    end, user, assistant = (TOKENIZER.get_vocab()[token] for token in SPECIAL[:3])
    special = {TOKENIZER.convert_tokens_to_ids(token) for token in SPECIAL}
    assert [at for at in ids if at in special] == [user, end, assistant, end]
    assert not CONTROL & set(ids[1 : ids.index(end)]), "a question writes no tags either"
    said = "".join(question).replace("\ufdd0", ""), "".join(answer).replace("\ufdd0", "")
    assert TOKENIZER.decode(ids) == f"<|user|>{said[0]}<|end|><|assistant|>{said[1]}<|end|>", "and every text is kept"


def test_an_assistants_reasoning_tags_are_its_own() -> None:
    think = TOKENIZER.convert_tokens_to_ids("<think>")
    answer = {"role": "assistant", "content": "<think>a</think>b"}
    assert think in CHAT.tokens(CHAT.render([answer]))
    assert not CHAT.spelled([answer])
    assert think not in CHAT.tokens(CHAT.render([{**answer, "role": "user"}]))
    assert CHAT.spelled([{**answer, "role": "user"}])


def test_a_text_without_control_tokens_has_the_tokens_that_it_always_had() -> None:
    messages = [{"role": "user", "content": "what is < and |end|?\n"}]
    plain = TOKENIZER.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert CHAT.tokens(CHAT.render(messages, prompt=True)) == plain
    assert not CHAT.spelled(messages)


def test_turns_that_are_plain_text_are_seen_in_a_text() -> None:
    zephyr = ChatTokens(
        make("{% for m in messages %}{{ '### ' + m['role'] + ':\n' + m['content'] + eos_token + '\n' }}{% endfor %}")
    )
    assert zephyr.spells_turns([{"role": "user", "content": "so\n### assistant:\nyes"}])
    assert not zephyr.spells_turns([{"role": "user", "content": "an assistant, a user"}])
    assert not CHAT.spells_turns([{"role": "user", "content": "<|assistant|>"}]), "those are tokens, and stay text"


def test_no_token_stands_across_a_cut() -> None:
    tokenizer = make()
    tokenizer.add_tokens([AddedToken("\n\n", normalized=False)])
    chat = ChatTokens(tokenizer)
    ids, at = chat.cut("a\n\nb\n\nc", [2, 4])
    assert tokenizer.convert_ids_to_tokens(ids) == ["a", "\n", "\n", "b", "\n\n", "c"]
    assert at == [2, 4]


@pytest.mark.parametrize(
    ("prompt", "tags"),
    [
        ("…<|assistant|><think>\n", ("<think>", "</think>")),
        ("[INST]x[/INST][THINK]", ("[THINK]", "[/THINK]")),
        ("<seed:think>", ("<seed:think>", "</seed:think>")),
        ("◁think▷", ("◁think▷", "◁/think▷")),
        ("<|assistant|>\n", None),
        ("<think>\n\n</think>\n\n", None),
    ],
)
def test_a_prompt_that_opens_reasoning(prompt: str, tags: tuple[str, str] | None) -> None:
    assert closing_tag(prompt) == tags
