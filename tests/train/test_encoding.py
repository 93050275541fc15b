from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Regex, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from arenaloop.errors import ConfigError, InputError
from arenaloop.models.checkpoint import end_ids
from arenaloop.train.encoding import ChatEncoder, Encoded, encode_conversations, encode_pairs

Row = dict[str, Any]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def spell(tokenizer: PreTrainedTokenizerFast, row: Encoded) -> tuple[str, str]:
    """The whole text, and the text that carries the loss with the rest as dots."""
    tokens = tokenizer.convert_ids_to_tokens(row.ids)
    return "".join(tokens), "".join(token if on else "." for token, on in zip(tokens, row.labelled, strict=True))


def encode_one(tokenizer: PreTrainedTokenizerFast, messages: list[Any], **settings: Any) -> tuple[str, str]:
    turns = settings.pop("turns", "last")
    out = encode_conversations(ChatEncoder(tokenizer, settings.pop("max_length", 100)), [{"messages": messages}], turns)
    (row,) = out.rows
    return spell(tokenizer, row)


def test_the_loss_falls_on_the_answer_and_its_end(tokenizer: PreTrainedTokenizerFast) -> None:
    whole, labelled = encode_one(tokenizer, [user("hi"), assistant("yes")])
    assert whole == "<|user|>hi<|assistant|>yes<|end|>"
    assert labelled == "....yes<|end|>"


def test_last_turn_or_all_turns(tokenizer: PreTrainedTokenizerFast) -> None:
    messages = [user("a"), assistant("bc"), user("d"), assistant("ef")]
    assert encode_one(tokenizer, messages)[1] == "." * 9 + "ef<|end|>"
    assert encode_one(tokenizer, messages, turns="all")[1] == "...bc<|end|>...ef<|end|>"


@pytest.mark.parametrize("marked", [False, True])
def test_an_answer_of_several_turns_is_learned_whole(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast], marked: bool
) -> None:
    template = MARKED if marked else MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    encoder = ChatEncoder(make_tokenizer(template), 100)
    given = [user("p"), assistant("q"), user("a")]
    answer = [assistant("bc"), user("d"), assistant("ef")]
    (row,) = encode_conversations(encoder, [{"prompt": given, "completion": answer}]).rows
    # the history's own answer is given; both turns of the answer carry the loss, the user's turn between does not
    assert spell(encoder.tokenizer, row)[1].replace(".", "") == "bc<|end|>ef<|end|>"
    other = [assistant("xy"), user("d"), assistant("ef")]
    pair = encode_pairs(encoder, [{"prompt": given, "chosen": answer, "rejected": other}]).rows
    sides = [spell(encoder.tokenizer, side)[1].replace(".", "") for side in pair]
    assert sides == ["bc<|end|>ef<|end|>", "xy<|end|>ef<|end|>"]


MARKED = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.mark.parametrize("turns", ["last", "all"])
def test_generation_marks_and_the_prefix_method_agree(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast], turns: str
) -> None:
    marked = make_tokenizer(MARKED)
    plain = make_tokenizer(MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", ""))
    assert ChatEncoder(marked, 9).marks_answers
    assert not ChatEncoder(plain, 9).marks_answers
    messages = [user("a"), assistant("bc"), user("d"), assistant("ef")]
    # the newline after the last end of turn is neither trained on nor kept
    expected = {"last": "." * 10 + "ef<|end|>", "all": "...bc<|end|>....ef<|end|>"}[turns]
    assert encode_one(marked, messages, turns=turns)[1] == expected
    assert encode_one(plain, messages, turns=turns)[1] == expected


def test_an_empty_rejected_answer_has_its_end_where_marks_leave_it_out(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    tokenizer = make_tokenizer(
        MARKED.replace("m['content'] + '<|end|>' }}{% endgeneration %}", "m['content'] }}{% endgeneration %}<|end|>")
    )
    row = {"prompt": [user("a"), assistant("b"), user("c")], "chosen": [assistant("d")], "rejected": [assistant("")]}
    chosen, rejected = encode_pairs(ChatEncoder(tokenizer, 50), [row]).rows
    assert spell(tokenizer, chosen)[1] == "........." + "d<|end|>", "the end of turn is learned all the same"
    assert spell(tokenizer, rejected)[1] == "........." + "<|end|>"


def test_a_template_without_an_end_of_turn_gets_one(make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> None:
    open_ended = "{% for m in messages %}{{ m['content'] + '.' }}{% endfor %}"
    assert encode_one(make_tokenizer(open_ended), [user("hi"), assistant("yes")]) == (
        "hi.yes.<|end|>",
        "...yes.<|end|>",
    )


def test_what_ends_a_turn_is_what_sampling_stops_at(make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> None:
    # the template closes a turn by another token than the end of sequence; special tokens elsewhere end nothing
    closing = MARKED.replace("<|end|>", "<|system|>").replace("{% generation %}", "").replace("{% endgeneration %}", "")
    tokenizer = make_tokenizer(closing)
    assert ChatEncoder(tokenizer, 50).end_ids == end_ids(tokenizer) == {1, 2}
    assert encode_one(tokenizer, [user("hi"), assistant("yes")])[1] == "....yes<|system|>"
    assert ChatEncoder(tokenizer, 50, frozenset({7})).end_ids == {7}
    open_ended = make_tokenizer("{% for m in messages %}{{ m['content'] + '.' }}{% endfor %}")
    assert encode_one(open_ended, [user("hi"), assistant("a#b")])[1] == "...a<|unk|>b.<|end|>"


def test_a_template_that_does_not_continue_its_prompt_is_refused(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    reversing = "{% for m in messages | reverse %}{{ m['content'] }}{% endfor %}"
    encoder = ChatEncoder(make_tokenizer(reversing), 100)
    with pytest.raises(
        InputError, match="training row 0: the chat template does not continue its own generation prompt"
    ):
        encode_conversations(encoder, [{"messages": [user("ab"), assistant("cd")]}])


def test_a_template_that_rewrites_earlier_turns_is_refused_for_all_turns_only(
    tagged: Callable[[str], PreTrainedTokenizerFast],
) -> None:
    messages = [user("a"), assistant("<think>x</think>bc"), user("d"), assistant("<think>y</think>ef")]
    learned = encode_one(tagged(R1), messages)[0]
    assert learned.endswith("bc<|end|><|user|>d<|assistant|><think>\ny</think>ef<|end|>")
    with pytest.raises(InputError, match="rewrites earlier assistant turns"):
        encode_one(tagged(R1), messages, turns="all")


def test_an_answer_that_merges_with_the_prompt_is_tokenised_apart(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    from tokenizers import AddedToken

    tokenizer = make_tokenizer("{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}")
    tokenizer.add_tokens([AddedToken("\n\n", normalized=False)])
    (row,) = encode_conversations(ChatEncoder(tokenizer, 50), [{"messages": [user("a"), assistant("\nb")]}]).rows
    assert tokenizer.convert_ids_to_tokens(row.ids) == ["a", "\n", "\n", "b", "\n", "<|end|>"]
    assert row.labelled == [False, False, True, True, True, True]


def test_rows_that_cannot_be_used_are_counted(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = ChatEncoder(tokenizer, 8)
    rows: list[Row] = [
        {"messages": [user("hi"), assistant("yes")], "source": "kept"},  # 4 + 4 tokens
        {"messages": [user("hi"), assistant("yess")]},  # one too many: the end of turn is cut off
        {"prompt": [user("hi")], "completion": [assistant("  \n")]},
        {"prompt": [user("x" * 6)], "completion": [assistant("y")]},  # the prompt fills the window
        {"prompt": [user("x" * 5)], "completion": [assistant("y")]},  # one token of room
    ]
    out = encode_conversations(encoder, rows)
    assert dict(out.dropped) == {"empty_response": 1, "prompt_too_long": 1}
    assert out.source == [0, 1, 4]
    assert out.truncated == 2
    assert [spell(tokenizer, row)[1] for row in out.rows] == ["....yes<|end|>", "....yess", ".......y"]
    assert [row.truncated for row in out.rows] == [False, True, True]


def test_pairs(tokenizer: PreTrainedTokenizerFast) -> None:
    def pair(prompt: str, chosen: str, rejected: str) -> Row:
        return {"prompt": [user(prompt)], "chosen": [assistant(chosen)], "rejected": [assistant(rejected)], "margin": 1}

    rows = [
        pair("hi", "yes", "no"),
        pair("hi", "yes", "yes"),
        pair("hi", "", "no"),
        pair("hi", "no", ""),  # an empty answer may be rejected
        pair("hi", "yessir", "yessi"),  # equal within the window
        pair("hi", "yes", "nooooo"),
        pair("x" * 9, "a", "b"),
    ]
    out = encode_pairs(ChatEncoder(tokenizer, 8), rows)
    assert dict(out.dropped) == {"equal_texts": 2, "empty_response": 1, "prompt_too_long": 1}
    assert "row 4: its answers are the same as far as the window" in out.explained["equal_texts"]
    assert out.source == [0, 3, 5]
    assert out.truncated == 1
    assert [spell(tokenizer, row)[1] for row in out.rows] == [
        "....yes<|end|>",
        "....no<|end|>",
        "....yes<|end|>",
        "....no<|end|>",
        "....<|end|>",
        "....nooo",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "hi"}, "there is no column 'messages', .* nor 'prompt' and 'completion', .*; found: text"),
        ({"messages": [user("hi")]}, "does not end with an assistant turn"),
        ({"messages": [assistant("hi")]}, "no turn before the answer"),
        ({"messages": "hi"}, "'messages' is not a list of messages"),
        ({"messages": []}, "'messages' is not a list of messages"),
        ({"messages": [user("hi"), {"role": "assistant", "content": None}]}, "without a known role and a text content"),
        ({"messages": [{"role": "alien", "content": "x"}, assistant("hi")]}, "without a known role"),
    ],
)
def test_malformed_rows_are_named(tokenizer: PreTrainedTokenizerFast, row: Row, message: str) -> None:
    good = {"messages": [user("hi"), assistant("yes")]}
    with pytest.raises(InputError, match=f"training row 1.*{message}"):
        encode_conversations(ChatEncoder(tokenizer, 50), [good, row])


def test_malformed_pairs_are_named(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = ChatEncoder(tokenizer, 50)
    with pytest.raises(InputError, match="begins with a user turn that is not the prompt's"):
        encode_pairs(encoder, [{"prompt": [user("a")], "chosen": [user("b")], "rejected": [assistant("c")]}])
    with pytest.raises(InputError, match="the prompt is empty"):
        encode_pairs(encoder, [{"prompt": [], "chosen": [assistant("b")], "rejected": [assistant("c")]}])


def test_a_template_that_refuses_a_conversation_names_the_row(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    picky = make_tokenizer("{{ raise_exception('no system turns') }}")
    with pytest.raises(InputError, match=r"training row 0: .*no system turns"):
        encode_conversations(ChatEncoder(picky, 50), [{"messages": [user("a"), assistant("b")]}])


def test_no_chat_template_is_one_line(make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> None:
    with pytest.raises(ConfigError, match="has no chat template") as caught:
        ChatEncoder(make_tokenizer(None), 50)
    assert "\n" not in str(caught.value)


QWEN = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% if m['role'] == 'assistant' and loop.last "
    "and '</think>' not in m['content'] %}{{ '<think>.</think>' }}{% endif %}{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
R1 = (
    "{% for m in messages %}{% set c = m['content'] %}{% if m['role'] == 'assistant' %}"
    "{{ '<|assistant|>' + c.split('</think>')[-1] + '<|end|>' }}{% else %}{{ '<|user|>' + c }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}"
)
R1_MARKED = R1.replace(
    "{{ '<|assistant|>' + c.split('</think>')[-1] + '<|end|>' }}",
    "<|assistant|>{% generation %}{{ c.split('</think>')[-1] + '<|end|>' }}{% endgeneration %}",
)


@pytest.fixture
def tagged(make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> Callable[[str], PreTrainedTokenizerFast]:
    def make(template: str) -> PreTrainedTokenizerFast:
        tokenizer = make_tokenizer(template)
        tokenizer.add_tokens(["<think>", "</think>"])
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        return tokenizer

    return make


def test_an_empty_block_of_reasoning_that_the_template_writes_is_learned(
    tagged: Callable[[str], PreTrainedTokenizerFast],
) -> None:
    """The generation prompt does not hold it, so the model must write it."""
    assert encode_one(tagged(QWEN), [user("a"), assistant("b")])[1] == "...<think>.</think>b<|end|>"
    reasoned = encode_one(tagged(QWEN), [user("a"), assistant("<think>c</think>b")])
    assert reasoned[1] == "...<think>c</think>b<|end|>"


@pytest.mark.parametrize(
    ("answer", "learned"),
    [
        ("<think>\nhm\n</think>\n\nb", "hm\n</think>\n\nb<|end|>"),  # the prompt has opened it
        ("hm</think>b", "hm</think>b<|end|>"),  # as some servers give it
        ("b", "\n</think>\n\nb<|end|>"),
    ],
)
def test_a_template_that_strips_reasoning_is_trained_after_its_own_prompt(
    tagged: Callable[[str], PreTrainedTokenizerFast], answer: str, learned: str
) -> None:
    messages = [user("x"), assistant("<think>\ny\n</think>z"), user("a"), assistant(answer)]
    whole, labelled = encode_one(tagged(R1), messages)
    assert whole == "<|user|>x<|assistant|>z<|end|><|user|>a<|assistant|><think>\n" + learned
    assert labelled.lstrip(".") == learned
    assert encode_one(tagged(R1_MARKED), messages)[1].lstrip(".").endswith("b<|end|>"), "marks are obeyed"


def test_a_generation_prompt_that_is_always_written_is_not_learned(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    always = "{% for m in messages %}{{ m['role'] + '. ' + m['content'] + '\n' }}{% endfor %}{{ 'assistant. ' }}"
    whole, labelled = encode_one(make_tokenizer(always), [user("hi"), assistant("yes")])
    assert whole == "user. hi\nassistant. yes<|end|>"
    assert labelled.lstrip(".") == "yes<|end|>"
    ending = always.replace("m['content'] + '", "m['content'] + '<|end|>")
    assert encode_one(make_tokenizer(ending), [user("hi"), assistant("yes")])[0] == (
        "user. hi<|end|>\nassistant. yes<|end|>"
    )


@pytest.mark.parametrize("closing", ["", " "])
def test_marks_without_the_end_of_turn_learn_it_too(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast], closing: str
) -> None:
    template = MARKED.replace(
        "m['content'] + '<|end|>' }}{% endgeneration %}", f"m['content'] }}}}{{% endgeneration %}}{closing}<|end|>"
    )
    assert "{% endgeneration %}" + closing + "<|end|>" in template
    messages = [user("a"), assistant("bc"), user("d"), assistant("ef")]
    _, labelled = encode_one(make_tokenizer(template), messages, turns="all")
    assert labelled.replace(".", "") == f"bc{closing}<|end|>ef{closing}<|end|>"
    unended = template.replace("<|end|>", "")
    assert encode_one(make_tokenizer(unended), messages)[1].endswith("ef<|end|>")


def test_turns_whose_ends_join_in_one_token_are_all_trained(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    from tokenizers import AddedToken

    template = (
        "{% for m in messages %}{{ m['role'] + '\n' + m['content'] }}"
        "{% if m['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}"
    )
    tokenizer = make_tokenizer(template)
    tokenizer.add_tokens([AddedToken("\nb", normalized=False)])
    messages = [user("a"), assistant("bc"), user("d"), assistant("bf")]
    _, labelled = encode_one(tokenizer, messages, turns="all")
    assert labelled.replace(".", "") == "bc<|end|>bf<|end|>"


def test_what_a_row_spells_stays_text_and_is_counted(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [
        {"messages": [user("a<|end|>"), assistant("b<|end|><|user|>c")]},
        {"messages": [user("a"), assistant("b")]},
    ]
    out = encode_conversations(ChatEncoder(tokenizer, 50), rows)
    assert out.spelled == 1
    ids = out.rows[0].ids
    assert [ids.count(token) for token in (1, 3, 4)] == [1, 1, 1], "one end, one user, one assistant: the template's"
    assert ids[-1] == 1


def test_a_row_that_the_template_refuses_is_dropped_and_explained(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    gemma = make_tokenizer(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    )
    good = {"messages": [user("a"), assistant("b")]}
    system = {"messages": [{"role": "system", "content": "s"}, *good["messages"]]}
    out = encode_conversations(ChatEncoder(gemma, 50), [good, system, system])
    assert dict(out.dropped) == {"template_refuses": 2}
    assert out.explained == {
        "template_refuses": "training row 1: the chat template refuses the conversation: System role not supported"
    }
    assert len(out.rows) == 1


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ '## ' + m['role'] + '\n' + m['content'] + '\n' }}{% endfor %}", "no_end_of_turn"),
        (R1, "earlier_turns_rewritten"),
    ],
)
def test_answers_to_follow_ups_that_cannot_be_learned_say_why(
    tagged: Callable[[str], PreTrainedTokenizerFast], template: str, reason: str
) -> None:
    row = {"prompt": [user("a")], "completion": [assistant("b"), user("c"), assistant("d")]}
    with pytest.raises(InputError, match=rf"training row 0: .*learn the last turn alone.*'{reason}': 1"):
        encode_conversations(ChatEncoder(tagged(template), 50), [row])
    plain = {"messages": [*row["prompt"], *row["completion"]]}
    assert encode_conversations(ChatEncoder(tagged(template), 50), [plain]).source == [0], "the advice helps"


def test_all_turns_of_a_row_that_an_assistant_begins(tokenizer: PreTrainedTokenizerFast) -> None:
    labelled = encode_one(tokenizer, [assistant("hello"), user("a"), assistant("b")], turns="all")[1]
    assert labelled.replace(".", "") == "b<|end|>", "nothing stands before the first, which is given"


def test_a_template_with_a_clock_is_named(make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> None:
    clock = make_tokenizer(
        "{{ strftime_now('%f') }}" + MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    )
    with pytest.raises(InputError, match="something new each time"):
        encode_conversations(ChatEncoder(clock, 90), [{"messages": [user("a"), assistant("b")]}])


def test_pairs_that_another_row_turns_round_are_left_out(tokenizer: PreTrainedTokenizerFast) -> None:
    def pair(prompt: str, chosen: str, rejected: str) -> Row:
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}

    rows = [pair("hi", "yes", "no"), pair("hi", "no", "yes"), pair("ho", "no", "yes"), pair("hi", "yes", "maybe")]
    out = encode_pairs(ChatEncoder(tokenizer, 64), [*rows, rows[3]])
    assert dict(out.dropped) == {"mirrored": 2}
    assert out.explained["mirrored"] == "preference row 0: another row prefers the other one of its answers"
    assert out.source == [2, 3, 4]
