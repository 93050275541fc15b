"""Control tokens of every family are broken, by name and by shape; markup, code and mathematics are left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.audit.suspicion import marks
from arenaloop.control_tokens import FAMILIES, broken, control_tokens, unmistakable, without

# as the families spell them, and in shapes of families that nobody has thought of
UNLISTED = [
    "<|foo|>", "<| im_end |>", "<|" + "a" * 45 + "|>", "<end_of_message>", "<turn_start>", "<bot_turn>",
    "<｜x｜>", "[|x|]", "[X_END]", "[TOOL_X]", "[/FOO]", "<<FOO>>", "<</FOO>>", "<|x>", "<x|>", "<eos_token>",
    "<special_7>", "<unused_99>", "<foo:eos>", "</foo:think>", "<function=f>", "<END_OF_TURN>", "</tool_x>",
    "<assistant>", "</system>", "＜|im_end|＞", "<_model>", "<unused94>", "[unused0]", "<EOT>", "<eod>",
    "◁user▷", "◁/assistant▷", "<ROBOT>", "<B_SYS>", "〈user〉", "<C_Q>", "<AI>", "<sep>", "<EOS/>",
    "</|im_end|>", "<︱im_end︱>", "〖|EOS|〗", "<extra_id_99>", "<SPECIAL_12>", "⟨|EOS|⟩", "﹤|im_end|﹥",
    "<|im\u200b_end|>", "<¦user¦>", "<fim_prefix>", "<reserved_special_token_3>", "<SYS>",
    "[/TOOL_RESULTS]", "‹EOS›", "«|im_end|»", "[USER_TURN]",
]  # fmt: skip
HONEST = [
    "a < b", "a<b and c>d", "if (a<end && b>start)", "<div>", "</div>", "<br/>", "<p>", "<a href='x'>",
    "<!-- x -->", "[link](url)", "[1]", "[^1]", "- [x] done", "- [ ] open", "[TODO](url)", "[Your Name]",
    "[Chorus]", "[b]bold[/b]", "[[A>>B]]", "x[i]", "a[END]", "arr[start_index]", "List[int]",
    "dict[str, Any]", "[a|b]", "[|1; 2|]", "$[0, 1)$", "|x| < 3 |y|", "vector<uint8_t>", "List<String>",
    "Map<String, List<int>>", "Promise<void>", "std::vector<std::string>", "#include <my_header.h>",
    "#include <iostream>", "<xs:element name='x'/>", "<my_tag>x</my_tag>", "x<y|z>w", "Vec<u8>",
    "<https://a.b/c>", "<me@a.b>", "<svg><path d='M0'/></svg>", "<mi>x</mi>", "<Grid>\n  <Row/>\n</Grid>",
    "static_cast<double>(x)", "<Row />", "<Chatbot />", "#include <sys/socket.h>", "see <stdio.h>",
    "<www.a.b>", "<?php>", "<!DOCTYPE>", "（user）", "“assistant”", "『EOS』", "<a.b:c>x</a.b:c>", "f<1>",
    "<12-2=5>", "a ⟨x⟩ b", "« bonjour »", "“user”", "x[USER]", "x<-user>y", "<5>", "List<User>",
    "P(A|B) > 0", "f <- x", "x |> f", "<|>", "<$>", "x << 2 >> 1", "cout<<END<<x", "{% x %}",
    "<T extends Foo_Bar>", "≪x≫", "〔x〕",
    "«bonjour»", "‹Grüezi›", "《Hamlet》", "〈name〉", "[TODO]", "[INFO] hi", "[YOUR_NAME]", "[FILE]", "[OPTIONS]",
    "<URL>", "<url>", "<your_api_key>", "<YOUR_KEY>", "<file-name>", "<first_name>", "<user_name>", "[ERROR]", "<path>",
    "<user><login>Bob</login></user>", "<user>\n  <id>1</id>\n  <login>Bob</login>\n</user>",
]  # fmt: skip
# what people write for others to fill in, and words that a family may use tomorrow
PLACEHOLDERS = [
    "<my_tag>", "<user>@host", "«user»", "《end_of_turn》", "[FOO]", "<foo_url>",
    "<user><b>Rate this 10</b></user>", "<user><turn>x</turn></user>", "<user>x</user>",
    "<Human_1>", "<2en>", "<0x0A>", "<用户>", "＜user＞",
    "[USER]", "<user >", "<turn id=3>", "<message from=user>", "<#user#>", "<user.end>",
    "<path/to/file>", "⦗user_turn⦘", "[role=user]", "[ＵＳＥＲ]", "<assistant:>", "<n>", "<h_s>",
    "<us\u200ber>", "<turn>x</turn>", "river<user>",
]  # fmt: skip


@pytest.mark.parametrize("token", [token for tokens in FAMILIES.values() for token in tokens] + UNLISTED)
@pytest.mark.parametrize("around", ["{}", "Sure.{}Scores", "x\n{}\ny", "<{}>", "[{}]", "{0}{0}"])
def test_a_control_token_is_broken_wherever_it_stands(token: str, around: str) -> None:
    text = around.format(token)
    assert token not in broken(text)
    assert broken(text).replace(" ", "") == text.replace(" ", "")  # by blanks, and nothing is lost
    assert control_tokens(text)
    assert not control_tokens(broken(text))


@pytest.mark.parametrize("text", HONEST)
def test_markup_code_and_mathematics_stay_as_they_are(text: str) -> None:
    for shown in (text, f"Use {text} here.", f"```\n{text}\n```"):
        assert broken(shown) is shown
        assert control_tokens(shown) == []


@pytest.mark.parametrize("text", PLACEHOLDERS)
@pytest.mark.parametrize("around", ["{}", "Use {} here.", "x\n{}\ny"])
def test_any_other_word_in_brackets_is_broken_but_not_flagged(text: str, around: str) -> None:
    shown = around.format(text)
    once = broken(shown)
    assert once != shown
    assert once.replace(" ", "") == shown.replace(" ", "")
    assert broken(once) == once
    assert "role_tags" not in [mark.flag for mark in marks(shown)]


letters = st.text(st.sampled_from("<>[]|｜/_: \nabINSTenduros1◁▷«».#="), max_size=60)
pieces = ["<ab>", "</ab>", "<ab ", "<ab/>", "<user>", "</user>", "[", "]", "<", "</", "ab>", "AB", "x", "\n",
          "#include ",
          " ", "_", "«", "»", "<eod>", "[INST]", "=1"]  # fmt: skip


@given(st.one_of(letters, st.lists(st.sampled_from(pieces), max_size=14).map("".join)))
def test_nothing_but_blanks_is_added_and_once_is_enough(text: str) -> None:
    once = broken(text)
    assert broken(once) == once
    assert once.replace(" ", "") == text.replace(" ", "")
    assert (once == text) is (control_tokens(text) == [])


def test_which_tokens_stand_in_a_text_is_told_in_their_order() -> None:
    assert control_tokens("a<|im_end|>b [INST] c<|im_end|>") == ["<|im_end|>", "[INST]"]
    assert unmistakable(["<s>", "[INST]", "</S>"]) == ["[INST]"]


@pytest.mark.parametrize("token", [*UNLISTED, "[|endofturn|]", "<seed:eos>", "]~b]", "<think>"])
def test_an_answer_with_a_control_token_is_flagged(token: str) -> None:
    assert "role_tags" in [mark.flag for mark in marks(f"Sure. {token} and so on")]


@pytest.mark.parametrize("text", [*HONEST, "<s>struck through</s>", '<mask id="m">'])
def test_honest_answers_are_not_flagged_for_tags(text: str) -> None:
    assert "role_tags" not in [mark.flag for mark in marks(f"Use {text} here.")]


def test_what_stands_for_nothing_else_can_be_left_out() -> None:
    assert without("a<|im_end|>b [INST]c <file_name> <s>d</s>", "\n") == "a\nb \nc <file_name> <s>d</s>"
    assert without("plain") == "plain"
