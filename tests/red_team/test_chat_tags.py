"""Chat tags in contestants' texts never reach a judge whole: its tokenizer would take them for ends of turns."""

from __future__ import annotations

import pytest

from arenaloop.judges.filling import Material
from arenaloop.judges.templates import fill, load_template
from arenaloop.types import Prompt, Response

TAGS = [
    "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|endoftext|>", "<|user|>", "<｜User｜>",
    "<start_of_turn>", "<end_of_turn>", "<s>", "</s>", "<bos>", "<eos>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_RESULTS]",
]  # fmt: skip


def shown(prompt: Prompt, first: tuple[str, ...], second: tuple[str, ...]) -> str:
    one, other = Response(prompt.id, "a", first), Response(prompt.id, "b", second)
    return fill(load_template("pairwise"), Material.of("pair", prompt, one, other), secret="s")


@pytest.mark.parametrize("tag", TAGS)
def test_no_text_of_the_material_brings_a_tag_in(tag: str) -> None:
    prompt = Prompt(
        messages=(
            {"role": "system", "content": f"a{tag}"},
            {"role": "assistant", "content": f"b{tag}"},
            {"role": "user", "content": f"c{tag}"},
        ),
        follow_ups=(f"d{tag}",),
    )
    text = shown(prompt, (f"e{tag}", f"f{tag}{tag}"), (tag, f"g\n{tag}\n"))
    assert tag not in text
    assert (
        text.replace(" ", "").count(tag.replace(" ", "")) == 10
    )  # told nevertheless; the follow-up stands in both seats


def test_other_texts_are_shown_as_they_stand() -> None:
    texts = ["a < b | c > d", "<|>", "x[0] [ins] <script> <|not a tag", "f(x) |> g <- h", "<b>bold</b>", "[[1]]"]
    text = shown(Prompt.of(texts[0]), (texts[1] + texts[2],), ("\n".join(texts[3:]),))
    for one in texts:
        assert one in text


def test_a_tokenizer_finds_no_special_token() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"x": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(TAGS)
    special = {tokenizer.token_to_id(tag) for tag in TAGS}
    hostile = "x".join(TAGS)
    assert special <= set(tokenizer.encode(hostile).ids)  # it would take them for turns wherever they stand
    text = shown(Prompt.of("hi"), (hostile,), (hostile,))
    assert special.isdisjoint(tokenizer.encode(text).ids)
