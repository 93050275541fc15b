"""Reasoning is parted where the reply or its template opened it, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.models.reasoning import opened_by, part_reasoning
from arenaloop.models.reasoning_tags import FAMILIES, Tags, unknown_block

OPEN, CLOSE = "<think>", "</think>"
HARMONY = "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>"


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("plain", None, "plain"),
        ("<think>why <think>inner</think> more</think>answer", "why <think>inner</think> more", "answer"),
        ("<think>about <think> tags</think>answer", "about <think> tags", "answer"),
        ('<think>say "<think>", then</think>answer</think>', 'say "<think>", then', "answer</think>"),
        ("<think>why</think>\n</think>\nanswer", "why", "answer"),
        ("<think>why</thinking>answer", "why", "answer"),
        ("< think >why< / think >answer", "why", "answer"),
        ('<think type="deep" budget="3">why</think>answer', "why", "answer"),
        ("\ufeff\u200b<think>why</think>answer", "why", "answer"),
        ("<unused94>thought\nwhy<unused95>answer", "why", "answer"),
        ('<details type="reasoning" done="true">\n> why\n</details>\nanswer', "> why", "answer"),
        ("<details><summary>More</summary>x</details>y", None, "<details><summary>More</summary>x</details>y"),
        ("```thinking\nwhy\n```\nanswer", "why", "answer"),
        ("```thinking\nwhy\n```py\nx\n```\nmore\n```\nanswer", "why\n```py\nx\n```\nmore", "answer"),
        ("```python\nx\n```\nanswer", None, "```python\nx\n```\nanswer"),
        ("<|thinking_start|>why<|thinking_end|>answer", "why", "answer"),
        ("<｜begin▁of▁thinking｜>why<｜end▁of▁thinking｜>answer", "why", "answer"),
        ("[THOUGHT]why[/THOUGHT]answer", "why", "answer"),
        ("<ns:think>why</ns:think>answer", "why", "answer"),
        ("<|think|>why<|/think|>answer", "why", "answer"),
        ("<thought_process>all of it</thought_process>", None, "<thought_process>all of it</thought_process>"),
        ("assistantanalysiswhy.assistantfinalanswer", "why.", "answer"),
        ("assistant" + HARMONY + "answer", "why", "answer"),
        ("Thinking...\nwhy\n...done thinking.\n\nanswer", "why", "answer"),
        ("  spaced ", None, "  spaced "),
        ("<think>why</think>\n\nanswer ", "why", "answer "),
        (" \n<think>\nwhy\n</think>answer", "why", "answer"),
        ("<think></think>answer", "", "answer"),
        ("<THINK>why</THINK>answer", "why", "answer"),
        ("<think>cut off", "cut off", ""),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
        ("<think>one</think>\n<think>two</think>\nanswer", "one\n\ntwo", "answer"),
        ("<think>one</think>\n<think>cut", "one\n\ncut", ""),
        ("[THINK]why[/THINK]answer", "why", "answer"),
        ("<seed:think>why</seed:think>answer", "why", "answer"),
        ("<|START_THINKING|>why<|END_THINKING|><|START_RESPONSE|>answer<|END_RESPONSE|>", "why", "answer"),
        (HARMONY + "answer", "why", "answer"),
        (HARMONY + "answer<|return|>", "why", "answer"),
        ("analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>answer", "why", "answer"),
        ("<|channel|>final<|message|>answer", None, "answer"),
        ("<|channel|>analysis<|message|>cut off", "cut off", ""),
        ("analysiswhy.assistantfinalanswer", "why.", "answer"),
        ("why\n</think>\n\nanswer", "why", "answer"),
        ("why</think>answer", "why", "answer"),
        ("why.</think> answer", "why.", "answer"),
        ("The tags <think>x</think> mark it", None, "The tags <think>x</think> mark it"),
        ("An answer about <think> alone", None, "An answer about <think> alone"),
        ("The tag </think> closes it", None, "The tag </think> closes it"),
        ("Split at `</think>`: done", None, "Split at `</think>`: done"),
        ('text.split("</think>")[-1]', None, 'text.split("</think>")[-1]'),
        ("```\nx\n</think>\ny\n```", None, "```\nx\n</think>\ny\n```"),
        ("analysis of the assistantfinal", None, "analysis of the assistantfinal"),
    ],
)
def test_forms_of_a_block(text: str, reasoning: str | None, answer: str) -> None:
    assert part_reasoning(text, asked=["a question"])[:2] == (reasoning, answer)


@pytest.mark.parametrize("tag", FAMILIES)
def test_every_family_is_parted_and_found_at_a_prompts_end(tag: Tags) -> None:
    assert part_reasoning(f"{tag.open}why{tag.close}answer", asked=())[:2] == ("why", "answer")
    assert opened_by(f"a question\nassistant: {tag.open}\n") == tag
    assert opened_by(f"{tag.open}\n\n{tag.close}\n\n") is None
    assert part_reasoning(f"why\n{tag.close}\nanswer", asked=(), opened=tag)[:2] == ("why", "answer")
    assert part_reasoning("cut off", asked=(), opened=tag)[:2] == ("cut off", "")


quoted = st.sampled_from(
    [CLOSE, "< /think>", "&lt;/think&gt;", "</ THINK >", "＜／think＞", "%3C/think%3E", "<\u200b/think>"]
)


@given(quoted, st.text("ab \n.", max_size=20), st.text("ab \n.", max_size=20))
def test_a_tag_that_was_sent_is_taken_for_a_quotation(sent: str, before: str, after: str) -> None:
    said = f"x{before}\n{CLOSE}\n{after}"
    assert part_reasoning(said, asked=[f"an answer with {sent} in it"])[:2] == (None, said)
    assert part_reasoning(said)[:2] == (None, said)  # nobody knows what was sent
    ambiguous = f"{OPEN}{before}{CLOSE}{after}\n{CLOSE}\nend"
    assert part_reasoning(ambiguous, asked=[sent])[:2] == (None, ambiguous)
    assert part_reasoning(f"{OPEN}w{CLOSE}end", asked=[sent])[:2] == ("w", "end")


def test_what_was_not_sent_cannot_be_quoted_and_a_setting_wins() -> None:
    assert part_reasoning(f"why\n{CLOSE}\nend", asked=["/think about it"])[:2] == ("why", "end")
    assert part_reasoning(f"why\n{CLOSE}\nend", asked=[], guess=False)[:2] == (None, f"why\n{CLOSE}\nend")
    begun = (Tags("", CLOSE),)
    assert part_reasoning("cut off", begun, asked=[])[:2] == ("cut off", "")
    assert part_reasoning(f"{OPEN}why{CLOSE}end", begun, asked=[])[:2] == ("why", "end")
    own = (Tags("((", "))"),)
    assert part_reasoning("((why)) end", own, asked=[])[:2] == ("why", "end")
    assert part_reasoning(f"{OPEN}why{CLOSE}end", own, asked=[])[:2] == (None, f"{OPEN}why{CLOSE}end")


@given(st.text("<>/think[]THINK|\n a", max_size=60), st.booleans())
def test_nothing_of_a_text_is_lost(text: str, guess: bool) -> None:
    reasoning, answer, _ = part_reasoning(text, asked=[], guess=guess)
    if reasoning is None:
        assert answer == text
    else:
        assert answer in text
        assert all(line in text for line in reasoning.split("\n"))


def test_a_fence_that_was_sent_does_not_keep_a_fenced_thought_whole() -> None:
    said = "```thinking\nwhy\n```\n```py\nx\n```\nanswer"
    assert part_reasoning(said, asked=["```py\ny\n```"])[:2] == ("why", "```py\nx\n```\nanswer")


def test_a_block_within_a_block_is_not_told_from_a_quotation() -> None:
    said = "<think>A wrote <think>x</think>\nScores: 10 1\nno</think>\nScores: 3 8"
    assert part_reasoning(said, asked=["A: <think>x</think>\nScores: 10 1"])[:2] == (None, said)


THINKING = [
    "<reflection>x</reflection>P", "<cot>x", "<ANALYSIS>x", "◁reflect▷ x", "analysisWe need to", "thought\nx",
    "[plan] a", "```scratch\nx", "«Размышление» x", "【思考】x", "<thinking/>x",
    "<inner_monologue depth=3>x</inner_monologue>P", "{{thinking}}x", "&lt;think&gt;x&lt;/think&gt;P",
    "**<think>**x", "> <think>\n> x", "<<think>>x", "<|mind|>x", "<|channel|>analysis x", "[internal reasoning] x",
    "assistantreasoningThe user", "<inner-voice>x", "<monologue>x",
]  # fmt: skip
PERHAPS = [
    "**Thinking:** x", "Thought: x", "## Reasoning process\nx", "(thinking) x", "<!-- thinking -->x", "<|im_x|>y",
    "<verse>x</verse>answer", "[GREETING]x[/GREETING] answer",
]  # fmt: skip
ANSWERS = [
    "[analysis](https://a.b)", "[1] a note", "[Verse 1]\nx", "<p>all of it</p>", "plain <b>x</b> y", "```python\nx",
    "```reasonml\nx", "```plantuml\nx", "**Analysis**\nx", "I think so", "Thinking about it, yes",
    "“I thought so.”", "Analysis: x", "analysis of the text", "(a) x", "{x: 1}", "«Bonjour» x", "Thoughtful words",
    "# Plan\nx",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "thinks"),
    [*((text, True) for text in THINKING), *((text, False) for text in PERHAPS), *((text, None) for text in ANSWERS)],
)
def test_what_may_be_a_block_is_named_and_answers_are_not(text: str, thinks: bool | None) -> None:
    assert part_reasoning(text, asked=[])[:2] == (None, text)
    found = unknown_block(text)
    assert (None if found is None else found.thinks) is thinks
    assert found is None or found.tag.strip("<>[]|") in text


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("<musing>x</musing>answer", "<musing>"),
        ("[PONDER]x[/PONDER] answer", "[PONDER]"),
        ("<|inner|>x<|/inner|>answer", "<|inner|>"),
        ("```scratch\nx", "```scratch"),
        ("analysisWe need to", "analysis"),
        ("<p>all of it</p>", None),
        ("plain <b>x</b> y", None),
        ("[1] a note", None),
    ],
)
def test_a_block_that_nobody_knows_is_named(text: str, tag: str | None) -> None:
    assert (unknown_block(text) or (None,))[0] == tag


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("&lt;think&gt;", "&lt;/think&gt;"), ("&#60;think&#62;", "&#60;/think&#62;"), ("&amp;lt;think&amp;gt;", "#")],
)
def test_a_marker_that_is_escaped_is_told_and_named_as_it_stands(opening: str, closing: str) -> None:
    text = f"{opening}\nmaybe 12 & more\n{closing}\n\nIt is 13."
    found = unknown_block(text)
    assert found is not None
    assert found.tag == opening
    assert part_reasoning(text, [Tags(opening, closing)], asked=["x"])[:2] == ("maybe 12 & more", "It is 13.")
