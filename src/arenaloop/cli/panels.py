"""Lineage documents on a terminal: texts in frames, battles below each other; whatever the texts hold moves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from arenaloop.terminal import counted, figure, plain, say, table

__all__ = ["show_document"]

Document = Mapping[str, Any]
_TEXT, _LINES = 600, 10
"""characters and lines of a text that are shown unless all are asked for"""
_RAW = 240
_STYLES = {"chosen": "green", "learned": "green", "sampled": "green", "rejected": "red"}
_KEY = 12
"""characters of a key in a list; any start of six will do to ask for it"""


def show_document(console: Console, document: Document, *, full: bool = False) -> None:
    """Print a document of `trace_run` or `show_run`; `full`: texts whole, and keys too."""
    _Page(console, full).show(document)


class _Page:
    def __init__(self, console: Console, full: bool) -> None:
        self.console, self.full = console, full

    def show(self, document: Document) -> None:
        parts: dict[str, Callable[[Document], None]] = {
            "row": self.row,
            "rows": self.rows,
            "stage": self.stage,
            "dropped": self.dropped,
            "cleaned": self.cleaned,
            "battle": self.battle,
            "verdict": self.verdict,
            "judgement": self.judgement,
            "response": self.response,
            "prompt": self.of_prompt,
            "overview": self.overview,
        }
        parts[document["kind"]](document)
        for note in document.get("notes") or ():
            self.line(f"note: {note}", style="yellow")

    # ------------------------------------------------------------------ what is there

    def row(self, d: Document) -> None:
        self.head(f"{d['row']}", d["file"])
        self.prompt(d["prompt"])
        for one in d["texts"]:
            whose = "the model in training" if one["role"] == "sampled" else one["model"] or "unknown"
            self.text(f"{one['role']}: {whose}", one["texts"], _STYLES[one["role"]])
        if "selected" not in d:
            for name, value in d["lineage"].items():
                self.line(f"{name}: {value}")
            return
        self.why(d["selected"])
        if d["scores"]:
            self.scores(d["scores"])
        self.battles(d["battles"])
        self.trained(d["trained"])

    def why(self, one: Document) -> None:
        reached = ""
        if one["threshold"] is not None and one["gap"] is not None:
            reached = f": gap {one['gap']:.4g}, {one['name']} = {one['threshold']:g}"
        reached += f"; the target is {one['target']}" if one["target"] else ""
        self.line(f"selected  {one['rule']}{reached}")

    def scores(self, rows: Sequence[Document]) -> None:
        self.console.print()
        cells = []
        for one in rows:
            marks = [mark for mark in ("target" if one["target"] else "", one["role"] or "") if mark]
            said = self.cut(" ⏎ ".join(one["text"]).replace("\n", " "), 40) if one["text"] is not None else "–"
            figures = figure(one["score"], ".2f"), str(one["battles"])
            cells.append([one["model"], *figures, ", ".join(marks), said, self.key(one["response"])])
        self.console.print(table(["model", "score", "battles", "", "answer", "key"], cells, words=True))

    def battles(self, battles: Sequence[Document]) -> None:
        if not battles:
            return
        calls, pairs = sum(len(one["verdicts"]) for one in battles), len({frozenset(one["texts"]) for one in battles})
        self.console.print()
        self.line(f"{counted(pairs, 'pair')} of texts, {counted(calls, 'verdict')}", style="bold")
        several = len({one["judge"] for one in battles}) > 1
        for one in battles:
            if several:
                self.line(f"  by {one['judge']}", style="bold")
            self.meeting(one)

    def meeting(self, one: Document) -> None:
        a, b = _who(one["one"]), _who(one["two"])
        if one["texts"][0] == one["texts"][1]:
            self.line(f"  {a}: equal texts, {self.result(one, a, b)}")
        else:
            self.line(f"  {a} against {b}: {self.result(one, a, b)}")
        for verdict in one["verdicts"]:
            self.call(verdict)

    def result(self, one: Document, a: str, b: str) -> str:
        if one["winner"] is None:
            return "no battle, a seat has no outcome"
        points = f"{figure(one['score_one'], '.4g')} to {figure(one['score_two'], '.4g')}"
        won = {"one": f"{a} won", "two": f"{b} won", "tie": "a tie"}[one["winner"]]
        return f"{points}, {won}{', each seat named another' if one['flipped'] else ''}"

    def call(self, v: Document) -> None:
        points = f"{figure(v['score_first'], 'g')} to {figure(v['score_second'], 'g')}"
        told = points if v["status"] == "ok" else v["status"]
        if v["status"] == "ok" and v["score_first"] is None:
            told = {"A": "first won", "B": "second won", "TIE": "a tie"}[v["outcome"]]
        more = [f"{v['attempts']} attempts"] if v["attempts"] > 1 else []
        more += [f"asked again ({v['sample']})"] if v["sample"] else []
        more += [v["why_not"]] if v["why_not"] else []
        self.line(
            f"    {self.key(v['key'])}  {_who(v['first'])} first: {told}  {v['judge']}{_list(more)}", style="cyan"
        )
        said = " ".join((v["raw"] or v["error"] or "").split())
        if said:
            self.line(f"      {self.cut(said, _RAW)}", style="dim")

    def trained(self, rows: Sequence[Document]) -> None:
        self.console.print()
        if not rows:
            self.line("trained on by  no stage that the settings tell of")
        for one in rows:
            self.line(f"trained on by  {one['stage']} ({one['how']}{'' if one['finished'] else '; not finished'})")

    def rows(self, d: Document) -> None:
        self.line(f"{counted(d['count'], 'training row')}; give one of them:", style="bold")
        for one in d["rows"]:
            self.line(f"  {one['row']}  prompt {one['prompt']}")
        if d["count"] > len(d["rows"]):
            self.line(f"  … {d['count'] - len(d['rows']):,} more")

    def stage(self, d: Document) -> None:
        self.head(d["stage"], d["file"] or "no rows of its own")
        if d["threshold"]:
            self.line(f"selected with {d['threshold']['name']} = {d['threshold']['value']:g}")
        if d["rows"]:
            self.line(f"{counted(d['rows'], 'row')}: {d['stage']}:1 to {d['stage']}:{d['rows']}")
        if d["finished"]:
            self.line(f"trained on {counted(d['trained_on'], 'row')}, from {d['start']}")
        else:
            self.line("its training has not finished")
        for title, counts in (("chosen", d["chosen_by"]), ("rejected", d["rejected_by"]), ("no row", d["dropped"])):
            if counts:
                lots = title == "chosen" and counts != d["credit"]
                end = "; as written; of equally good ones a lot decides" if lots else ""
                self.line(f"{title}: {', '.join(f'{name} {n:,}' for name, n in counts.items())}{end}")
        if d["dropped_file"]:
            self.line(f"prompts without a row: {d['dropped_file']}")

    def dropped(self, d: Document) -> None:
        self.line(f"no row in {d['stage']}: {self.reason(d)}", style="bold")
        self.again(d["again"])
        self.prompt(d["prompt"])
        if d["scores"]:
            self.line("scores: " + ", ".join(f"{name} {score:.4g}" for name, score in d["scores"].items()))
        self.battles(d["battles"])

    def cleaned(self, d: Document) -> None:
        self.head(f"dropped by the cleaning of the pool: {d['step']}", f"{d['file']}, line {d['line']}")
        self.prompt(d["prompt"])
        like = " ".join(f"{name} {value}" for name, value in d["like"].items())
        alike = "" if d["similarity"] is None else f", similarity {d['similarity']:.4g}"
        self.line(f"{d['reason']}{f'; like {like}' if like else ''}{alike}")

    def again(self, stages: Sequence[Document]) -> None:
        """Later stages that learn from a prompt without a row."""
        for one in stages:
            end = "" if one["finished"] else "; not finished"
            self.line(f"  trained on by {one['stage']} ({one['how']}{end}); the row is in no file")

    def reason(self, one: Document) -> str:
        k = one.get("threshold")
        gap = (
            ""
            if one.get("gap") is None
            else f" (gap {one['gap']:.4g}" + (f", {k['name']} = {k['value']:g})" if k else ")")
        )
        return f"{one['reason']}{gap}"

    def battle(self, d: Document) -> None:
        self.head(f"{d['model_a']} against {d['model_b']}", f"{d['file']}, line {d['line']}" if d.get("file") else "")
        self.prompt(d["prompt"])
        winner = d.get("winner")
        for one, seat in zip(d["answers"], ("model_a", "model_b"), strict=True):
            style = "green" if winner == seat else "red" if winner not in (None, "tie") else ""
            status = one.get("status")
            title = one["model"] + (f" ({status})" if status not in (None, "ok") else "")
            self.text(title, one.get("texts"), style)
        if winner is not None:
            name = {"model_a": d["model_a"], "model_b": d["model_b"]}.get(winner)
            points = "" if d.get("score_a") is None else f", {d['score_a']:.4g} to {d['score_b']:.4g}"
            flips = ", each seat named another" if d.get("flipped") else ""
            self.line(f"{'a tie' if name is None else f'{name} won'}{points}{flips}", style="bold")
        if d.get("reason"):
            lost = f"{d['own_failure']} failed" if d.get("own_failure") else f"undecided by the {d.get('cause')}"
            self.line(f"{lost}: {d['reason']}")
        for key in d["missing"]:
            self.line(f"verdict {key} is not in the arena file")
        self.battles(d["meetings"])

    def verdict(self, d: Document) -> None:
        v = d["verdict"]
        self.head(f"verdict {d['key']}", f"{v['judge']}, {v['status']}")
        self.prompt(d["prompt"])
        for seat, one in zip(("first", "second"), d["seats"], strict=True):
            self.text(f"{seat} seat: {_who(one['models'])}", one["texts"])
        if v["raw"]:
            self.text("the judge", [v["raw"]])
        if v["why_not"]:
            self.line(f"counts in no battle: {v['why_not']}", style="yellow")
        if d["battle"] is not None:
            self.battles([d["battle"]])
        self.uses(d)

    def judgement(self, d: Document) -> None:
        j = d["judgement"]
        self.head(f"judgement {d['key']}", f"{j['judge']}, {j['status']}, score {figure(j['score'], 'g')}")
        self.prompt(d["prompt"])
        self.line(f"of an answer by {_who(j['models'])}")
        self.text("the judge", [j["raw"] or j["error"] or ""])
        self.uses(d)

    def response(self, d: Document) -> None:
        one = d["answer"]
        self.head(f"answer {d['key']}", f"{one['model']}, {one['status']}")
        self.prompt(d["prompt"])
        self.text(one["model"], one["texts"])
        for turn in d.get("turns") or ():
            self.line(turn, style="dim")
        self.battles(d["battles"])
        self.uses(d)

    def of_prompt(self, d: Document) -> None:
        self.head(f"prompt {d['key']}", ", ".join(f"{k}: {v}" for k, v in d["prompt"]["tags"].items()))
        self.prompt(d["prompt"])
        said = [" ⏎ ".join(one["texts"]).replace("\n", " ") for one in d["answers"]]
        cells = [
            [one["model"], one["status"], self.cut(text, 60), self.key(one["key"])]
            for one, text in zip(d["answers"], said, strict=True)
        ]
        if cells:
            self.console.print(table(["model", "status", "answer", "key"], cells, words=True))
        self.battles(d["battles"])
        self.uses(d)

    def uses(self, d: Document) -> None:
        """Where something is named: rows, prompts without a row, battles."""
        if "rows" not in d:
            return
        self.console.print()
        for one in d["rows"]:
            self.line(f"row {one['row']} ({one['as']})", style="green")
        for one in d["dropped"]:
            self.line(f"no row in {one['stage']}: {self.reason(one)}")
            self.again(one["again"])
        if d["trained"]:
            self.line(f"trained on by {', '.join(d['trained'])}")
        for one in d["battle_rows"]:
            won = {"model_a": one["model_a"], "model_b": one["model_b"]}.get(one["winner"] or "")
            end = f"{won} won" if won else "a tie" if one["winner"] == "tie" else f"undecided ({one['cause']})"
            self.line(f"{one['file']}:{one['line']}  {one['model_a']} against {one['model_b']}: {end}")
        if (rest := d["battle_rows_count"] - len(d["battle_rows"])) > 0:
            self.line(f"… {rest:,} more")

    def overview(self, d: Document) -> None:
        self.head(d["directory"], ", ".join(f"{n:,} {what}" for what, n in d["sizes"].items()))
        if d["models"]:
            self.console.print(table(["model", "answers"], [[name, f"{n:,}"] for name, n in d["models"].items()]))
        if d["stages"]:
            self.console.print()
            cells = [
                [one["stage"], *(figure(one[k], ",") for k in ("rows", "dropped", "trained_on"))] for one in d["stages"]
            ]
            self.console.print(table(["stage", "rows", "no row", "trained on"], cells))
        for one in d["kept"]:
            state = "" if one["finished"] else " (not finished)"
            self.line(f"{one['stage']} of other settings{state}: {one['path']}: {one['settings']}")
        for one in d["earlier"]:
            self.line(f"board of earlier settings: {one['path']}: {counted(one['battles'], 'battle')}")
        self.console.print()
        for one in d["battles"]:
            self.line(f"{one['file']}: {one['lines']:,}")
        for one in d["try"]:
            self.line(one, style="dim")

    # ------------------------------------------------------------------ how it looks

    def line(self, text: str, style: str | None = None) -> None:
        lead = len(text) - len(text.lstrip())
        if lead and len(text) > self.console.width:
            folded = Text(plain(text.strip()), style=style or "").wrap(
                self.console, max(20, self.console.width - lead - 2)
            )
            for at, part in enumerate(folded):
                self.console.print(Text(" " * (lead + 2 * (at > 0))) + part, soft_wrap=True, highlight=False)
            return
        say(self.console, text, style=style, fold=True)

    def head(self, title: str, beside: str) -> None:
        say(self.console, title, style="bold")
        if beside:
            say(self.console, beside, style="dim")

    def prompt(self, d: Document) -> None:
        text = Text()
        for turn in d["messages"]:
            text.append(f"{plain(str(turn.get('role')))}  ", style="bold")
            text.append(f"{self.clip(str(turn.get('content')))}\n")
        for turn in d.get("follow_ups") or ():
            text.append("then  ", style="bold").append(f"{self.clip(str(turn))}\n")
        text.rstrip()
        own = (d.get("tags") or {}).get("source_id")
        title = f"prompt {plain(d['id'])}" + ("" if own is None else f" · {plain(str(own))} in its own file")
        self.console.print(Panel(text, title=Text(title), title_align="left", border_style="dim"))

    def text(self, title: str, texts: Iterable[str] | None, style: str = "") -> None:
        body = "no answer" if texts is None else "\n⏎\n".join(map(self.clip, texts))
        self.console.print(
            Panel(Text(body), title=Text(plain(title)), title_align="left", border_style=style or "none")
        )

    def clip(self, text: str) -> str:
        """A text of several lines, each made harmless; its end left out unless all is wanted."""
        lines = text.split("\n")
        shown, left = text, 0
        if not self.full and (len(text) > _TEXT or len(lines) > _LINES):
            shown = "\n".join(lines[:_LINES])[:_TEXT]
            left = len(text) - len(shown)
        safe = "\n".join(map(plain, shown.split("\n")))
        return safe + (f" … {left:,} more characters (--full)" if left else "")

    def cut(self, text: str, most: int) -> str:
        return text if self.full or len(text) <= most else f"{text[: most - 1]}…"

    def key(self, key: str | None) -> str:
        return "–" if key is None else key if self.full else key[:_KEY]


def _who(names: Sequence[str]) -> str:
    return " = ".join(names) if names else "an answer that is not stored"


def _list(words: Sequence[str]) -> str:
    return f" ({'; '.join(words)})" if words else ""
