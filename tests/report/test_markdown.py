from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsed_page import HOSTILE

from arenaloop.report.markdown import rendered

ELEMENTS = {
    *("p", "ul", "ol", "li", "blockquote", "strong", "em", "s", "pre", "code", "hr", "br", "h4", "h5", "h6"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


class Parsed(HTMLParser):
    """Elements as a browser's parser finds them, with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_safe(html: str) -> None:
    page = Parsed(html)
    assert {tag for tag, _ in page.found} <= ELEMENTS
    for tag, attrs in page.found:
        assert attrs == [] or (tag == "ol" and re.fullmatch(r"\d{1,9}", str(dict(attrs)["start"])))
    assert not re.search("[\x00-\x08\x0b-\x1f\u200b\u2028\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page.text)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# One\n## Two", "<h4>One</h4><h5>Two</h5>"),
        ("a **b** *c* ~~d~~ `e`", "<p>a <strong>b</strong> <em>c</em> <s>d</s> <code>e</code></p>"),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("> q", "<blockquote><p>q</p></blockquote>"),
        ("one\ntwo *x*", "<p>one<br>two <em>x</em></p>"),
        ("|a|b|\n|-|:-:|\n|1|2|", "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td>"
         "</tr></tbody></table>"),
        ("```html\n<b>&amp;\n```", "<pre><code>&lt;b&gt;&amp;amp;\n</code></pre>"),
        ("````\n```\n# no\n```\n````", "<pre><code>```\n# no\n```\n</code></pre>"),
        ("***", "<hr>"),
    ],
)  # fmt: skip
def test_marks_become_elements(text: str, html: str) -> None:
    assert rendered(text) == html


@pytest.mark.parametrize("text", ["", "plain words", "two\n\nparagraphs.\n\nScores: 7 5", "an & sign, 2 > 1"])
def test_a_text_without_marks_is_shown_raw(text: str) -> None:
    assert rendered(text) is None


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "https://example.org/x.png", "vbscript:x"],
)
def test_links_and_images_stay_what_was_written(address: str) -> None:
    for written in (f"[words]({address})", f"![words]({address})", f"[words][1]\n\n[1]: {address}", f"<{address}>"):
        html = rendered(f"**bold** {written}")
        assert_safe(html)
        assert address in Parsed(html).text


@pytest.mark.parametrize("text", [*HOSTILE, "<img src=x onerror=alert(1)>", '`" onmouseover="x`', "# <b>x</b>\n***"])
def test_hostile_texts_do_nothing(text: str) -> None:
    for around in ("**b** {}", "# {}", "- {}", "```{}\n{}\n```", "|{}|x|\n|-|-|\n|{}|y|", "> {}"):
        assert_safe(rendered(around.replace("{}", text)) or "")


def test_hidden_characters_are_spelled_out_however_they_are_written() -> None:
    html = rendered("*a* \u202eb &#8238;c &#x202e;d \x1b[31m &#0; \u200b")
    assert_safe(html)
    assert html.count("⟨U+202E⟩") == 3
    assert "⟨U+001B⟩[31m" in html


def test_what_is_nested_too_deep_or_too_long_is_shown_raw() -> None:
    assert rendered("> " * 30 + "deep") is None
    assert rendered("*a* " * 6_000) is None


@given(st.lists(st.sampled_from([*"*_`~#>|-+\\&<[]()!\n\t \u202e1.a", "```", "&#60;script&#62;", "](javascript:x)"])))
def test_whatever_is_written_only_our_elements_come_out(parts: list[str]) -> None:
    assert_safe(rendered("".join(parts)) or "")
