"""The page of training settings says what the settings' own classes say; run as a program, this prints it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

from arenaloop.config import METHODS, LoraSettings, OptimSettings, Settings

PAGE = Path(__file__).parent.parent / "docs" / "training_settings.md"
HEAD = """# Settings of training methods

Set with `--set KEY=VALUE` of `arenaloop train`, or under a stage's name in a recipe (`sft.epochs: 1`); nested ones by
dots (`lora.r=8`). Each table names the methods that have its settings, of which a later table's default wins; `None` is
YAML's `null`. A line of `metrics.jsonl` is written every `log_every` steps and after the last one, with means over the
steps since the line before; `ppo`, `rloo` and `quark` count iterations there, not steps.
"""


def described(kind: type[Settings]) -> dict[str, tuple[str, str, str]]:
    """By field that a class itself declares: its type, its default, what it is."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for at, node in enumerate(tree.body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        name = node.target.id
        if name not in kind.model_fields:
            continue
        after = tree.body[at + 1] if at + 1 < len(tree.body) else None
        told = ast.get_docstring(ast.Module([after], []), clean=True) if isinstance(after, ast.Expr) else None
        field = kind.model_fields[name]
        value = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)!r}`"
        kinds = ast.unparse(node.annotation).replace("|", "\\|")
        found[name] = (f"`{kinds}`", value.replace("|", "\\|"), " ".join((told or "").split()).replace("|", "\\|"))
    return found


def page() -> Iterator[str]:
    yield HEAD
    shown: dict[type[Settings], list[str]] = {LoraSettings: ["`lora`"]}
    for method, kind in METHODS.items():
        for own in reversed([one for one in kind.__mro__ if issubclass(one, OptimSettings)]):
            shown.setdefault(own, []).append(f"`{method}`")
    for each, methods in sorted(shown.items(), key=lambda pair: (pair[0] is LoraSettings, len(pair[0].__mro__))):
        if rows := described(each):
            yield f"## {', '.join(methods)}\n"
            yield "| setting | type | default | |\n|---|---|---|---|"
            yield "\n".join(f"| `{name}` | {' | '.join(row)} |" for name, row in rows.items()) + "\n"


def test_the_page_says_what_the_classes_say() -> None:
    assert PAGE.read_text("utf-8") == "\n".join(page())


if __name__ == "__main__":
    PAGE.write_text("\n".join(page()), "utf-8")
