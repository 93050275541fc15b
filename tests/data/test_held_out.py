"""Held-out prompts are recognised by what they ask, however they are written and wherever they stand."""

from __future__ import annotations

import unicodedata
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.held_out import HeldOut, Leak, Turn, normalised, prompt_turns, row_turns
from arenaloop.sandbox.tasks import draw
from arenaloop.types import Message, Prompt


def said(*turns: str, system: str | None = None) -> tuple[Message, ...]:
    """User turns with answers between them."""
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    for turn in turns:
        messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": "well"}]
    return tuple(messages[:-1])


def leak(held_out: HeldOut, *turns: str) -> Leak | None:
    return held_out.leak(prompt_turns(Prompt(said(*turns))))


PLAIN = "How much is 3 - 1, café?"


@pytest.mark.parametrize(
    "other",
    [
        PLAIN,
        "How much is 3 - 1, café? ",
        "\ufeffHow much is 3 - 1, café?",
        "How  much\nis\t3\u00a0- 1, café?\r\n",
        "HOW MUCH IS 3 - 1, CAFÉ?!",
        "how much is 3 – 1, cafe\u0301",
        "\u200bHow mu\u00adch is 3 - 1, café?\u200d",
        "Ｈｏｗ ｍｕｃｈ is 3 - 1, café？",
        "“How much is 3 - 1, café?”",
        "**How much is 3 - 1, café?**",
        "How **much** is *3* - `1`, café? 🙏",
        "> How much is 3-1 café",
        "## How much is 3 - 1:café",
        "How much is 3 &#45; 1&#x2c;&nbsp;caf&eacute;?",
        "How <b>much</b> is <span class='n'>3</span> - 1, café?<br>",
        "<question>How much is 3 - 1, café?</question>",
        "Ноw much іs 3 - 1, саfé?",  # Cyrillic letters
        "𝐇𝐨𝐰 much is 3 - 1, café?",
        "Question: How much is 3 - 1, café?",
        "Q: How much is 3 - 1, café?\nA:",
        "User: How much is 3 - 1, café?\n\nAssistant:",
        "### Instruction:\nHow much is 3 - 1, café?\n\n### Response:\n",
        "[INST] How much is 3 - 1, café? [/INST]",
        "<s>[INST] How much is 3 - 1, café? [/INST]",
        "<|im_start|>user\nHow much is 3 - 1, café?<|im_end|>\n<|im_start|>assistant\n",
        "<start_of_turn>user\nHow much is 3 - 1, café?<end_of_turn>\n<start_of_turn>model\n",
        "How%20much%20is%203%20-%201%2C%20caf%C3%A9%3F",
        "How [much](https://example.org/x?y=1) is 3 - 1, café?",
        "\\nHow much is 3 - 1, caf\\u00e9?\\n",
    ],
)
def test_one_question_in_other_writing(other: str) -> None:
    held_out = HeldOut([Prompt.of(PLAIN)])
    answer: Message = {"role": "assistant", "content": "2"}
    for turns in (
        prompt_turns(Prompt.of(other)),
        prompt_turns(Prompt(said(other, system="Be brief."))),
        row_turns({"messages": [*said(other), answer]}),
        row_turns({"prompt": [*said(other)], "completion": [answer]}),
        row_turns({"prompt": other, "completion": "2"}),
        row_turns({"messages": [{"role": "user", "content": [{"type": "text", "text": other}]}, answer]}),
    ):
        assert held_out.leak(turns) is Leak.ASKED
    assert leak(HeldOut([Prompt.of(other)]), PLAIN) is Leak.ASKED


@pytest.mark.parametrize(
    "texts",
    [
        ["2+2", "22", "2-2", "2*2", "2/2", "2 2", "2.2", "2^2", "-2", "2%", "$2", "2:2"],
        ["x<y", "x>y", "x=y", "xy", "x y", "x<=y", "x!=y"],
        ["a+b", "a-b", "a*b", "ab"],
        ["(3+4)*2", "3+4*2"],
        ["foo < bar", "foo > bar", "foo && bar", "foo || bar", "if (!foo)", "if (foo)"],
        ["C", "C++", "C#"],
        ["vector<int>", "vector<float>"],
        ["s[:2]", "s[2:]", "s[2]"],
        ["i++", "i--"],
        ["f[0](x)", "f[1](x)", "f(x)"],
        ["5! / 3", "5 / 3"],
        ["की", "कि", "क"],  # two vowel signs of one letter
        ["?!", "...", "🙏", "👍"],
        ["hi", "hi there", "yes", "no"],
        ["Question 1: name a river", "Question 2: name a river", "Task 1: name a river", "name a river"],
        ["double: ab", "reverse: ab", "ab", "a b", "swap: gu giz", "swap: gug iz"],
        ["How much is 3 - 1, café?", "How much is 3 + 1, café?", "How much is 31, café?", "How much is 3 - 1, cafe?"],
    ],
)
def test_other_questions(texts: list[str]) -> None:
    for one, other in combinations(texts, 2):
        assert leak(HeldOut([Prompt.of(one)]), other) is None, (one, other)
        assert leak(HeldOut([Prompt.of(other)]), one) is None, (other, one)


def test_no_two_tasks_of_the_sandbox_are_one() -> None:
    tasks = [*draw(3000, 3, "train"), *draw(300, 3, "test")]
    assert len({normalised(task.prompt.last_user) for task in tasks}) == len({task.prompt.id for task in tasks})
    held_out = HeldOut([task.prompt for task in tasks[3000:]])
    assert [task for task in tasks[:3000] if held_out.leak(prompt_turns(task.prompt))] == []


LONG = "Tell me why the river that crosses this town freezes so rarely."
SHORT = "Name a river in Bohemia."


@pytest.mark.parametrize(
    "turns",
    [
        [Turn("system", f"Example: {LONG} → it is warm"), Turn("user", "Go on."), Turn("assistant", "well")],
        [Turn("user", "Give me a question."), Turn("assistant", f"Sure! **{LONG}** Good luck.")],
        [Turn("user", f"Please answer me this. {LONG}\n\nThink step by step.")],
        [Turn("user", f"{LONG}\n{LONG}")],
        [Turn("user", LONG.replace("river", "ríver"))],
        [Turn("user", "Tell me why the river that"), Turn("assistant", "?"), Turn("user", LONG[27:])],
        [Turn("user", f"Frage: {SHORT}")],
        [Turn("user", f"Answer in one word.\n\n{SHORT}\n\nYour answer:")],
        [Turn("system", f"<|q|>{SHORT}<|x|> Vltava"), Turn("user", "go on")],
    ],
)
def test_a_prompt_that_stands_in_a_turn_is_contained(turns: list[Turn]) -> None:
    assert HeldOut([Prompt.of(LONG), Prompt.of(SHORT)]).leak(turns) is Leak.CONTAINED


@pytest.mark.parametrize(
    "text",
    [
        f"{SHORT[:-1]} that is longer than 100 km.",  # more is asked within its line
        LONG.replace("rarely", "often"),
        LONG.replace("freezes ", ""),
        "Tell me why the river that crosses this town is brown.",  # begins alike
        "I said yes, hi, no and 2 + 2.",
    ],
)
def test_what_is_short_or_only_begins_alike_is_not_contained(text: str) -> None:
    held_out = HeldOut([Prompt.of(held) for held in (LONG, SHORT, "yes", "hi", "2 + 2", "no and 2")])
    assert held_out.leak([Turn("user", text), Turn("assistant", text)]) is None


def test_accents_part_short_questions_alone() -> None:
    """Of long ones a letter's accent is a writing; two words of a short one may differ in nothing else."""
    held_out = HeldOut([Prompt.of("What is meant by má?")])
    assert held_out.leak([Turn("user", "Frage: What is meant by mà?")]) is None
    assert held_out.leak([Turn("user", "Frage: What is meant by má?")]) is Leak.CONTAINED


def test_conversations() -> None:
    held_out = HeldOut([Prompt(said("a", "b")), Prompt(said("c"), follow_ups=("d", "e"))])
    assert leak(held_out, "x", "A", "b!", "y")  # somewhere in a longer one
    for unlike in (("a",), ("b",), ("b", "a"), ("a", "x", "b"), ("d",), ("d", "e")):
        assert leak(held_out, *unlike) is None, unlike
    for like in (("c",), ("c", "d"), ("c", "d", "e"), ("c", "x"), ("x", "c")):  # each turn of it is answered
        assert leak(held_out, *like) is Leak.ASKED, like
    assert leak(HeldOut([]), "a") is None


def test_a_conversation_is_contained_with_all_its_turns() -> None:
    held_out = HeldOut([Prompt(said("It is cold.", LONG))])
    assert leak(held_out, f"Well: {LONG}") is None
    assert leak(held_out, "It is cold.", f"Well: {LONG}") is Leak.CONTAINED


def test_many_that_begin_alike_are_found_by_what_they_do_not_share() -> None:
    shared = "Read the text below with care, and answer the question that follows it in one word:"
    held_out = HeldOut([Prompt.of(f"{shared} what is item {n} of the list?") for n in range(300)])
    assert held_out.leak([Turn("assistant", f"{shared} what is item 299 of the list?")]) is Leak.CONTAINED
    assert held_out.leak([Turn("user", f"{shared} what is item 300 of the list?")]) is None
    assert max(len(found) for found in held_out._grams.values()) < 15  # "item N of the" or "is item N of"


@given(st.text(max_size=40))
def test_normalising_is_blind_to_form(text: str) -> None:
    once = normalised(text)
    assert normalised(f" \n{text}\t") == once
    assert normalised(unicodedata.normalize("NFD", text)) == normalised(unicodedata.normalize("NFC", text))


@given(st.lists(st.text(max_size=30), max_size=4))
def test_every_row_asks_itself(texts: list[str]) -> None:
    turns = [Turn("user", text) for text in texts]
    if texts:
        assert HeldOut([Prompt(said(*texts))]).leak(turns) is Leak.ASKED


def test_long_runs_of_accents_are_cut_before_they_are_sorted() -> None:
    assert normalised("a" + "\u0301" * 100_000) == normalised("a" + "\u0301" * 30)


@pytest.mark.parametrize(
    "row",
    [
        "Below is an instruction that describes a task, paired with an input.\n\n### Instruction:\nName the capital of "
        "the country.\n\n### Input:\nPeru is a country in South America.\n\n### Response:",
        "Name the capital of the country.\nInput: Peru is a country in South America.",
        "Name the capital of the country.\n\nText:\nPeru is a country in South America.",
    ],
)
def test_labels_between_the_parts_of_a_question_are_put_aside(row: str) -> None:
    held_out = HeldOut([Prompt.of("Name the capital of the country.\n\nPeru is a country in South America.")])
    assert leak(held_out, row) is not None
    other = row.replace("Peru", "Chile")
    assert leak(held_out, other) is None


def test_the_held_out_prompt_is_named_by_its_number() -> None:
    long = "Tell me why the river that crosses this town freezes so rarely."
    held_out = HeldOut([Prompt.of("Is 7 prime?"), Prompt(said("hello you", "and you")), Prompt.of(long)])
    found = [
        held_out.find(prompt_turns(Prompt(said(*turns))))
        for turns in (("is 7 prime",), ("Hello, you!", "and you?"), ("hello you",), (f"Well. {long} Yes.",))
    ]
    assert found == [(Leak.ASKED, 0), (Leak.ASKED, 1), None, (Leak.CONTAINED, 2)]
