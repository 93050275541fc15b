"""A report as a browser's parser sees it, texts that would break out of it, and what may stand on it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from arenaloop.report import rendering, write_report

__all__ = ["EVERYTHING", "HOSTILE", "OURS", "Page", "assert_only_ours", "read"]

TAGS = """
    html head meta title link style script body header nav main section footer article div span p h1 h2 h3 h4 a ul li
    dl dt dd table thead tbody tr th td figure figcaption svg line circle rect text bdi small strong kbd form label
    select option input button output details summary pre em s br hr blockquote code ol h5 h6 noscript
"""
ATTRIBUTES = """
    lang charset http-equiv content name rel href class id for role aria-label scope title dir hidden type value
    autocomplete placeholder data-kind data-models data-score data-kl height width x y x1 x2 y1 y2 cx cy r dx dy
    text-anchor transform overflow start min step inputmode data-index
"""
OURS = Path(rendering.__file__).with_name("templates")

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "</style></title></textarea></pre><img src=x onerror=alert(3)>",
    "\"><svg onload=alert(4)> ' onmouseover='alert(5)",
    '<a href="javascript:alert(6)">javascript:alert(6)</a>',
    "{{ 7 * 191 }} {% raw %} ${7*191} <!-- --> ]]> &lt;b&gt; &#60;i&#62;",
    "\u202egnp.exe \u2066\u2069 \u200b \U000e0041 \x00 \x1b[31m \r\n \u2028",
    "https://example.org/pixel.png //example.org url(https://example.org)",
]
EVERYTHING = " ".join(HOSTILE)


class Page(HTMLParser):
    """What a browser's parser would see: elements, their attributes, and the text of each kind of element."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.words: list[tuple[str, str]] = []
        self.odd: list[str] = []
        self.feed(html)
        self.close()

    VOID = frozenset({"meta", "link", "input", "br", "hr", "img", "base", "embed", "source"})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            data = tag == "script" and dict(attrs).get("type") == "application/json"
            self.inside.append("data" if data else tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        inside = self.inside.pop()
        assert ("script" if inside == "data" else inside) == tag, f"</{tag}> closes nothing of ours"

    def handle_data(self, data: str) -> None:
        self.words.append((self.inside[-1] if self.inside else "", data))

    def handle_comment(self, data: str) -> None:
        self.odd.append(data)

    def handle_pi(self, data: str) -> None:
        self.odd.append(data)

    def unknown_decl(self, data: str) -> None:
        self.odd.append(data)

    @property
    def text(self) -> str:
        return "\n".join(words for kind, words in self.words if kind not in ("script", "style", "data"))

    def inside_of(self, kind: str) -> str:
        return "".join(words for where, words in self.words if where == kind)


def read(directory: Path) -> Page:
    path = write_report(directory)
    assert path == directory / "report.html"
    raw = path.read_bytes()
    assert len(raw) <= rendering.MAX_BYTES
    return Page(raw.decode("utf-8"))


RUN_KINDS = r"(undecided|suspicious|flipped|gap|random)( flipped)?( tie)?"


def assert_only_ours(
    page: Page, kinds_of_cards: str = RUN_KINDS, *, forms: int = 1, script: str = "browser.js"
) -> None:
    """Nothing on the page but what the template put there, and nothing that loads, links out or runs."""
    assert page.inside == []
    assert page.odd == []
    assert {tag for tag, _ in page.elements} <= set(TAGS.split())
    assert {name for _, attrs in page.elements for name in attrs} <= set(ATTRIBUTES.split())
    assert page.inside_of("script") == ((OURS / script).read_text(encoding="utf-8") if script else "")
    assert page.inside_of("style") == (OURS / "style.css").read_text(encoding="utf-8")
    tags = [tag for tag, _ in page.elements]
    data = [attrs for tag, attrs in page.elements if tag == "script" and attrs]
    assert data in ([], [{"type": "application/json", "id": "data"}])
    scripts = tags.count("script") - len(data)
    assert (scripts, tags.count("style"), tags.count("link"), tags.count("form")) == (bool(script), 1, 1, forms)
    links = {attrs["href"] for tag, attrs in page.elements if "href" in attrs}
    assert all(link == "data:," or re.fullmatch(r"#[a-z]+[0-9]*", str(link)) for link in links)
    kinds = {str(attrs.get("data-kind")) for tag, attrs in page.elements if "battle" in str(attrs.get("class"))}
    assert all(re.fullmatch(kinds_of_cards, kind) for kind in kinds)
    assert not re.search("[\x00\u200b\u2028\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f\ud800-\udfff]", page.text)
