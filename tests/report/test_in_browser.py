"""The report in a real browser: what it looks like, and what its controls do. Skipped where no Chromium is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Tab, browser, found
from parsed_page import EVERYTHING, HOSTILE

from arenaloop.report import write_report

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(found() is None, reason="no Chromium here; $CHROMIUM names one"),
]
FAULTS = (Path(__file__).parents[1] / "support" / "page_faults.js").read_text(encoding="utf-8")
OPEN = (
    "document.querySelectorAll('details.fold, #battles > details:nth-child(-n+20)').forEach((one) => one.open = true)"
)
FIRST = "document.querySelector('#battles > details')"
MARKDOWN = (
    "# Heading\n\nSome **bold** and `code`.\n\n- one\n- two\n\n```\n"
    + "long " * 80
    + "\n```\n\n| a | b |\n|-|-|\n| 1 | "
    "wide |\n\n[click](javascript:alert(1)) ![x](http://127.0.0.1:9/x.png) <b onclick=alert(1)>b</b>"
)
TEXTS = [
    *(*HOSTILE, EVERYTHING, MARKDOWN, "W" * 3000, "نص عربي من اليمين " * 40, "😀👩‍👩‍👧‍👦🏳️‍🌈" * 60),
    *("word " * 20_000, "中文" * 500, "", "> " * 200 + "deep", "- " * 300, "<" * 5000),
]
NAMES = ["strong", "middle", "weak", "<script>alert(9)</script>", "a model with a long name " + "x" * 90, "نموذج"]


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser() as one:
        yield one


def hostile_file(folder: Path, battles: int = 240) -> Path:
    """Battles whose texts and names try to break out of the page."""
    rows = []
    for n in range(battles):
        a, b = n % len(NAMES), (n + 1 + n // len(NAMES) % (len(NAMES) - 1)) % len(NAMES)
        asked = TEXTS[n % len(TEXTS)] or "?"
        talks = [
            [{"role": "user", "content": asked}, {"role": "assistant", "content": TEXTS[(n * k + k) % len(TEXTS)]}]
            for k in (7, 5)
        ]
        winner = "tie" if n % 7 == 0 else "model_a" if (a < b) != (n % 5 == 0) else "model_b"
        rows.append(
            {"question_id": f"q{n}", "model_a": NAMES[a], "model_b": NAMES[b], "winner": winner, "language": "en"}
            | {"conversation_a": talks[0], "conversation_b": talks[1], "judgment": TEXTS[(n * 3) % len(TEXTS)]}
        )
    path = folder / "hostile.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def looked_over(tab: Tab, report: Path, extra: int = 0) -> None:
    """No fault at either width in either scheme, nothing on the console, nothing asked for but the page's own files."""
    for width in (360, 1280):
        for scheme in ("light", "dark"):
            tab.open(report.as_uri(), width=width, scheme=scheme)
            tab.ask(OPEN)
            assert tab.ask(FAULTS) == [], (width, scheme)
            assert tab.complaints == []
            assert len([url for url in tab.requested if not url.startswith(("about:", "data:"))]) <= 1 + extra


def shown(tab: Tab) -> int:
    """How many battles the filters leave."""
    return int(tab.ask("document.querySelector('[name=shown]').textContent.split(' ')[0].replace(',', '')"))


def test_a_battle_looks_right(tab: Tab, battle_run: Path) -> None:
    looked_over(tab, write_report(battle_run))
    board = json.loads((battle_run / "leaderboard.json").read_text(encoding="utf-8"))["leaderboard"]
    cells = "Array.from(document.querySelectorAll('.board tbody tr'), (row) => [row.children[1].innerText.trim(), "
    assert tab.ask(f"{cells}row.children[2].innerText])") == [[r["model"], f"{r['rating']:.0f}"] for r in board]


def test_a_recipe_looks_right(tab: Tab, recipe_run: Path) -> None:
    looked_over(tab, write_report(recipe_run))


def test_hostile_texts_stay_texts(tab: Tab, tmp_path: Path) -> None:
    looked_over(tab, write_report(hostile_file(tmp_path)))
    for view in ("", "raw"):
        tab.choose("view", view)
        for number in (1, 2, 3, 4, 5):
            tab.ask(f"document.querySelectorAll('#battles > details')[{number}].open = true")
        assert (
            tab.ask(
                "document.querySelectorAll('main :is(script[src], img, iframe, a[href^=http], a[href^=java])').length"
            )
            == 0
        )
        assert tab.ask(FAULTS) == []
    assert tab.complaints == []


def test_filters_leave_what_the_file_says(tab: Tab, battle_run: Path) -> None:
    rows = [json.loads(line) for line in (battle_run / "battles.jsonl").read_text(encoding="utf-8").splitlines()]
    tab.open(write_report(battle_run).as_uri())
    summary = json.loads((battle_run / "summary.json").read_text(encoding="utf-8"))
    judged = [row for row in rows if row.get("own_failure") is None]
    every = shown(tab)
    assert every >= len(rows)

    def of(row: dict[str, Any], name: str) -> bool:
        return name in (row["model_a"], row["model_b"])

    def won(row: dict[str, Any], name: str) -> bool:
        return bool(row["winner"] != "tie" and row[row["winner"]] == name)

    model = tab.ask(
        "Array.from(document.querySelector('[name=model]').options).find((one) => one.text === 'good').value"
    )
    other = tab.ask(
        "Array.from(document.querySelector('[name=model]').options).find((one) => one.text === 'fine').value"
    )
    wanted: list[tuple[dict[str, str], int]] = [
        ({"outcome": "tie"}, sum(row["winner"] == "tie" for row in rows)),
        ({"outcome": "decisive"}, sum(row["winner"] != "tie" for row in rows)),
        ({"status": "decided"}, len(judged)),
        ({"flip": "flipped"}, sum(row["flipped"] for row in judged)),
        ({"flip": "steady"}, sum(not row["flipped"] for row in judged)),
        ({"gap": "2"}, sum(abs(row["score_a"] - row["score_b"]) >= 2 for row in judged)),
        ({"model": model, "outcome": "won"}, sum(of(row, "good") and won(row, "good") for row in rows)),
        ({"model": model, "status": "decided"}, sum(of(row, "good") for row in judged)),
        ({"model": model, "against": other, "status": "decided"}, sum(of(r, "good") and of(r, "fine") for r in judged)),
        ({"tag": "0"}, every),
    ]
    assert 0 < summary["battles_decided"] <= every
    for fields, count in wanted:
        for name, value in fields.items():
            tab.choose(name, value)
        assert shown(tab) == count, fields
        address = tab.ask("location.href")
        assert address.partition("#")[2].startswith("browser?")
        tab.ask("document.querySelector('[name=clear]').click()")
        assert shown(tab) == every
        tab.open(address)  # copied, it opens the same list
        assert shown(tab) == count, address
        tab.ask("document.querySelector('[name=clear]').click()")
    assert tab.complaints == []


def test_pages_keys_and_links(tab: Tab, tmp_path: Path) -> None:
    report = write_report(hostile_file(tmp_path))
    tab.open(report.as_uri())
    number = f"{FIRST}.id"
    assert tab.ask("document.querySelector('[name=pages]').textContent") == "of 5"
    lines = (tmp_path / "hostile.jsonl").read_text(encoding="utf-8").splitlines()
    tab.choose("search", "中文中")
    assert 0 < shown(tab) == sum("中文中" in json.dumps(json.loads(line), ensure_ascii=False) for line in lines) < 240
    tab.choose("search", "")
    tab.press("n")
    assert tab.ask(number) == "b51"
    tab.press("p")
    assert tab.ask(number) == "b1"
    tab.press("j")
    tab.press("j")
    assert tab.ask("Array.from(document.querySelectorAll('#battles > [open]'), (one) => one.id)") == ["b2"]
    tab.press("Enter")  # the summary has the focus
    assert tab.ask("document.querySelectorAll('#battles > [open]').length") == 0
    tab.press("m")
    assert tab.ask("document.querySelector('[name=view]').value") == "raw"
    tab.press("/")
    assert tab.ask("document.activeElement.name") == "search"
    tab.press("Escape")
    tab.press("g")
    assert tab.ask("document.activeElement.name") == "battle"
    tab.open(f"{report.as_uri()}#b123")
    assert tab.ask("Array.from(document.querySelectorAll('#battles > [open]'), (one) => one.id)") == ["b123"]
    assert tab.ask("document.querySelector('[name=page]').value") == "3"
    tab.open(report.as_uri())
    seen = []
    for _ in range(24):
        tab.press("Tab")
        seen.append(tab.ask("document.activeElement.name || document.activeElement.tagName"))
        assert tab.ask("getComputedStyle(document.activeElement).outlineStyle") != "none", seen
    assert {"kind", "model", "gap", "search", "next", "battle"} <= set(seen)
    assert tab.complaints == []


def test_texts_beside_the_page_come_when_they_are_opened(
    tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arenaloop.report.battle_file.MAX_BYTES", 100_000)
    report = write_report(hostile_file(tmp_path, 600))
    assert report.with_name("hostile.report.battles").is_dir()
    looked_over(tab, report, extra=4)
    tab.choose("search", "q599")
    tab.ask(f"{FIRST}?.querySelector('summary').click()")
    tab.choose("search", "")
    tab.press("n")
    tab.ask(f"{FIRST}.open = true")
    tab.until(f"{FIRST}.querySelector('.turn')")
    assert tab.complaints == []


@pytest.mark.parametrize("width", [360, 1280])
def test_the_live_page_follows_a_run(
    tab: Tab, tmp_path: Path, width: int, play: Callable[..., Path], battle_run: Path
) -> None:
    """It is there before the run has anything, takes what is written, keeps the filters, and says when it ends."""
    run = tmp_path / "later"
    run.mkdir()
    command = [sys.executable, "-m", "arenaloop", "report", str(run), "--live"]
    served = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert served.stdout is not None
        tab.open(served.stdout.readline().strip(), width=width)
        inside = "document.querySelector('iframe').contentDocument"
        tab.until(f"{inside}?.body?.innerText.includes('no run directory')")
        for path in battle_run.iterdir():
            path.rename(run / path.name)
        tab.until(f"{inside}?.querySelector('#filters:not([hidden])')")
        assert tab.ask("document.scrollingElement.scrollWidth <= innerWidth")
        assert tab.ask(f"{inside}.scrollingElement.scrollWidth <= {inside}.defaultView.innerWidth")
        tab.ask(
            f"(() => {{ const field = {inside}.querySelector('[name=outcome]'); field.value = 'tie';"
            "field.dispatchEvent(new Event('change')); })()"
        )
        tab.until(f"{inside}.location.hash.includes('outcome=tie')")
        before = tab.ask("document.querySelector('p').textContent")
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        (run / "summary.json").write_text(json.dumps(summary | {"flip_rate": 0.4321}), encoding="utf-8")
        tab.until(f"{inside}?.body?.innerText.includes('43.2 %')")
        assert tab.ask("document.querySelector('p').textContent") != before
        assert tab.until(f"{inside}?.querySelector('[name=outcome]')?.value === 'tie'")
        assert tab.complaints == []
        served.send_signal(signal.SIGINT)
        assert served.wait(timeout=30) in (0, 130)
        tab.until("document.querySelector('p').textContent.includes('has ended')")
    finally:
        served.kill()
        served.wait()
        if served.stdout is not None:
            served.stdout.close()
