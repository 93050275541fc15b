"""No chat template is trusted: a row of which it leaves out, alters or adds something is dropped with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from arenaloop.errors import ConfigError, InputError
from arenaloop.train.encoding import ChatEncoder, EncodedRows, encode_conversations, encode_pairs

Make = Callable[..., PreTrainedTokenizerFast]

PLAIN = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + CONTENT + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def template(content: str = "m['content']") -> str:
    return PLAIN.replace("CONTENT", content)


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def encode(tokenizer: PreTrainedTokenizerFast, *turns: tuple[str, str], all_turns: bool = False) -> EncodedRows:
    row = {"messages": [turn(role, text) for role, text in turns]}
    return encode_conversations(ChatEncoder(tokenizer, 120), [row], "all" if all_turns else "last")


def learned(tokenizer: PreTrainedTokenizerFast, out: EncodedRows) -> str:
    (row,) = out.rows
    tokens = tokenizer.convert_ids_to_tokens(row.ids)
    return "".join(token for token, on in zip(tokens, row.labelled, strict=True) if on)


QUESTION, REPLY = ("user", "what is it, a b c d e f"), ("assistant", "it is good, a b c d e f")
TALK = [("user", "hi there"), ("assistant", "hello to you"), QUESTION, REPLY]
SYSTEM = ("system", "be brief")
WITHOUT_SYSTEM = "in messages if m['role'] != 'system' %}"


@pytest.mark.parametrize(
    ("written", "turns", "reason"),
    [
        (template().replace("in messages %}", WITHOUT_SYSTEM), [SYSTEM, QUESTION, REPLY], "turn_lost"),
        (template().replace("in messages %}", "in messages[-2:] %}"), TALK, "turn_lost"),
        (template().replace("in messages %}", "in messages if m['role'] != 'user' %}"), [QUESTION, REPLY], "turn_lost"),
        ("{{ '' }}", [QUESTION, REPLY], "turn_lost"),
        (template("m['content'][:10]"), [QUESTION, REPLY], "text_changed"),
        (template("(m['content'][:10] if m['role'] == 'user' else m['content'])"), [QUESTION, REPLY], "text_changed"),
        (template("m['content'] | replace(' ', '')"), [QUESTION, REPLY], "text_changed"),
        (template("(m['content'] | tojson)"), [("user", 'a "b"'), REPLY], "text_changed"),
        (template("(m['content'] if m['role'] == 'user' else m['content'].split(' a ')[0])"), TALK, "text_changed"),
        (template("m['content'] + (' sure' if m['role'] == 'assistant' else '')"), TALK, "more_than_the_answer"),
        (template("('so, ' if m['role'] == 'assistant' else '') + m['content']"), TALK, "more_than_the_answer"),
        (template("m['content'] + '?'"), TALK, "more_than_the_answer"),
        (template() + "{{ '' if add_generation_prompt else 'be kind' }}", TALK, None),
        (template() + "{{ '' if add_generation_prompt else '<|system|>be kind<|end|>' }}", TALK, None),
        (template("m['content'] | trim"), [QUESTION, ("assistant", " it is good\n")], None),
        (template().replace("{% for", "{{ '<|system|>you help<|end|>' }}{% for"), TALK, None),
    ],
)
def test_what_a_template_makes_of_a_conversation(
    make_tokenizer: Make, written: str, turns: list[tuple[str, str]], reason: str | None
) -> None:
    tokenizer = make_tokenizer(written)
    if reason:
        with pytest.raises(InputError, match=rf"^training row 0: the chat template .*'{reason}': 1") as caught:
            encode(tokenizer, *turns)
        assert "\n" not in str(caught.value)
    else:
        assert learned(tokenizer, encode(tokenizer, *turns)) == turns[-1][1].strip() + "<|end|>"


def test_only_the_rows_that_a_template_does_not_keep_are_dropped(make_tokenizer: Make) -> None:
    ignoring = make_tokenizer(template().replace("in messages %}", WITHOUT_SYSTEM))
    rows = [{"messages": [turn(*t) for t in turns]} for turns in ([QUESTION, REPLY], [SYSTEM, QUESTION, REPLY])]
    out = encode_conversations(ChatEncoder(ignoring, 120), rows)
    assert (out.source, dict(out.dropped)) == ([0], {"turn_lost": 1})
    assert "leaves out turn 1 (system); take system messages out of the rows" in out.explained["turn_lost"]
    pair = {"prompt": "q", "chosen": "a", "rejected": "b"}
    kept = encode_pairs(ChatEncoder(ignoring, 120), [pair, {**pair, "system": "s"}])
    assert (kept.source, dict(kept.dropped)) == ([0], {"turn_lost": 1})


@pytest.mark.parametrize("all_turns", [False, True])
@pytest.mark.parametrize(
    "marked",
    [
        "{% if m['role'] == 'user' %}MARK{% else %}{{ m['content'] }}{% endif %}",
        "{% if m['role'] != 'system' %}MARK{% else %}{{ m['content'] }}{% endif %}",
    ],
)
def test_marks_around_others_words_are_not_obeyed(make_tokenizer: Make, marked: str, all_turns: bool) -> None:
    mark = "{% generation %}{{ m['content'] }}{% endgeneration %}"
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}" + marked.replace("MARK", mark) + "<|end|>{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    if all_turns:
        with pytest.raises(InputError, match=r"marks 'hi there.*' as generated, which is not the answer"):
            encode(tokenizer, *TALK, all_turns=True)
    else:
        assert learned(tokenizer, encode(tokenizer, *TALK)) == REPLY[1] + "<|end|>"


@pytest.mark.parametrize("extra", ["so, {}", "{} bye", "<|system|>be kind<|end|>{}"])
def test_marks_around_more_than_the_answer_are_refused(make_tokenizer: Make, extra: str) -> None:
    before, after = extra.split("{}")
    said = f"{{% generation %}}{before}{{{{ m['content'] }}}}{after}<|end|>{{% endgeneration %}}"
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% if m['role'] == 'assistant' %}"
        + said
        + "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    )
    with pytest.raises(InputError, match=r"'marks_misplaced': 1"):
        encode(tokenizer, QUESTION, REPLY)


def test_a_header_that_the_generation_prompt_lacks_is_learned(make_tokenizer: Make) -> None:
    """The model must write it to get to its answer."""
    channels = template("('<|user|>final<|system|>' if m['role'] == 'assistant' else '') + m['content']")
    tokenizer = make_tokenizer(channels)
    assert learned(tokenizer, encode(tokenizer, QUESTION, REPLY)) == f"<|user|>final<|system|>{REPLY[1]}<|end|>"
    unprompted = make_tokenizer(template().split("{% if add")[0])
    assert learned(unprompted, encode(unprompted, QUESTION, REPLY)) == f"<|assistant|>{REPLY[1]}<|end|>"


def test_one_end_is_learned_of_several(make_tokenizer: Make) -> None:
    twice = make_tokenizer(template().replace("+ '<|end|>'", "+ '<|end|><|end|>'"))
    assert learned(twice, encode(twice, QUESTION, REPLY)) == REPLY[1] + "<|end|>"


def test_a_lone_surrogate_is_dropped_and_named(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer(template())
    rows = [{"messages": [turn("user", text), turn("assistant", "b")]} for text in ("a", "a \ud83d")]
    out = encode_conversations(ChatEncoder(tokenizer, 50), rows)
    assert (out.source, dict(out.dropped)) == ([0], {"not_unicode": 1})
    assert out.explained["not_unicode"].startswith("training row 1: turn 1 (user) holds half a character (\\ud83d)")


@pytest.mark.parametrize("kind", [TypeError, IndexError, RecursionError, MemoryError])
def test_whatever_a_tokenizer_raises_drops_the_row(
    make_tokenizer: Make, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    tokenizer = make_tokenizer(template())
    encoder, tokens = ChatEncoder(tokenizer, 50), type(tokenizer).__call__

    def failing(self: Any, text: str, **options: Any) -> Any:
        if "boom" in text:
            raise kind("first line\nsecond line")
        return tokens(self, text, **options)

    monkeypatch.setattr(type(tokenizer), "__call__", failing)
    rows = [{"messages": [turn("user", text), turn("assistant", "b")]} for text in ("a", "boom")]
    out = encode_conversations(encoder, rows)
    assert dict(out.dropped) == {"not_tokenised": 1}
    said = f"training row 1: template or tokenizer fail: {kind.__name__}: first line"
    assert out.explained == {"not_tokenised": said}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_no_fault_of_a_row(
    make_tokenizer: Make, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    tokenizer = make_tokenizer(template())
    encoder = ChatEncoder(tokenizer, 50)

    def interrupted(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(type(tokenizer), "__call__", interrupted)
    with pytest.raises(error):
        encode_conversations(encoder, [{"messages": [turn(*QUESTION), turn(*REPLY)]}])


@pytest.mark.parametrize("broken", ["{% for m in messages %}", "{{ messages | nofilter }}", "{% if %}"])
def test_a_template_that_is_none_is_refused_at_once(make_tokenizer: Make, broken: str) -> None:
    with pytest.raises(ConfigError, match=r"the chat template of .* is no template: ") as caught:
        ChatEncoder(make_tokenizer(broken), 50)
    assert "\n" not in str(caught.value)


def test_several_templates_without_a_default_are_refused(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer(template())
    tokenizer.chat_template = {"rag": template(), "tools": template()}
    with pytest.raises(ConfigError, match=r"the chat template of .* cannot be used: "):
        ChatEncoder(tokenizer, 50)


def test_a_token_that_the_model_has_no_embedding_for_drops_the_row(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer(template())
    rows = [{"messages": [turn("user", text), turn("assistant", "b")]} for text in ("a", "?")]
    limit = tokenizer.get_vocab()["?"]
    out = encode_conversations(ChatEncoder(tokenizer, 50, vocabulary=limit), rows)
    assert dict(out.dropped) == {"token_unknown": 1}
    assert "no embedding for the tokenizer's token '?'" in out.explained["token_unknown"]


def test_contradictions_are_dropped_while_they_are_few(make_tokenizer: Make) -> None:
    encoder = ChatEncoder(make_tokenizer(template()), 50)
    pair = {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 3, "score_rejected": 2}
    worse = {**pair, "score_rejected": 9}
    out = encode_pairs(encoder, [pair] * 19 + [worse])
    assert (len(out.source), dict(out.dropped)) == (19, {"contradiction": 1})
    assert out.explained["contradiction"] == "preference row 19: score_chosen 3 is below score_rejected 9"
    with pytest.raises(
        InputError, match=r"^preference row 18: score_chosen .*; so it is in 2 of 20 rows, and more than 5"
    ):
        encode_pairs(encoder, [pair] * 18 + [worse] * 2)


FORMS: list[dict[str, Any]] = [
    {"messages": [turn("user", "q"), turn("assistant", "a")]},
    {"prompt": "q", "completion": "a"},
    {"prompt": [turn("user", "q")], "completion": [turn("assistant", "a")]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    {"instruction": "q", "input": "", "output": "a"},
    {"messages": [turn("user", "q"), {"role": "assistant", "content": [{"type": "text", "text": "a"}]}]},
]
PAIRS: list[dict[str, Any]] = [
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
    {"chosen": [turn("user", "q"), turn("assistant", "a")], "rejected": [turn("user", "q"), turn("assistant", "b")]},
    {"instruction": "q", "chosen": "a", "rejected": "b"},
    {"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": "b"},
]


def test_every_form_gives_the_tokens_of_the_plain_one(make_tokenizer: Make) -> None:
    encoder = ChatEncoder(make_tokenizer(template()), 50)
    first, *others = encode_conversations(encoder, FORMS).rows
    assert others == [first] * (len(FORMS) - 1)
    both = encode_pairs(encoder, PAIRS).rows
    half = len(PAIRS)
    assert both == [both[0]] * half + [both[half]] * half
    assert both[0] == first


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(answer=st.text("ab<|endusr> ", min_size=1, max_size=20).filter(lambda text: bool(text.strip())))
def test_what_is_learned_is_what_was_said_and_its_end(make_tokenizer: Make, answer: str) -> None:
    tokenizer = make_tokenizer(template())
    (row,) = encode(tokenizer, QUESTION, ("assistant", answer)).rows
    ids = [token for token, on in zip(row.ids, row.labelled, strict=True) if on]
    said = [tokenizer.convert_tokens_to_ids(letter) for letter in answer]
    assert ids == [*said, tokenizer.eos_token_id]
