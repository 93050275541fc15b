"""The house plan holds: imports point down only, nothing heavy is loaded early, no room without a purpose."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import arenaloop

SOURCE = Path(arenaloop.__file__).parent
# a package may import from those on its own line and on lines further down
LAYERS = [
    ["cli"],
    ["specs"],
    ["recipes", "sandbox"],
    ["serving"],
    ["train", "report"],
    ["arena", "data", "audit"],
    ["calls"],
    ["judges"],
    ["models"],
    ["store"],
    ["jsonl", "tables", "table_files", "columns", "messages", "terminal", "control_tokens", "normal_form"],
    ["text_files"],
    ["types", "errors", "config", "regular_files"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
TORCH_ROOMS = (
    *("train", "models/local.py", "models/chat.py", "models/checkpoint.py", "models/decoding.py", "models/gguf.py"),
    "models/adapters.py",
    "sandbox/target.py",
)
HEAVY = {"torch", "transformers", "safetensors", "polars", "aiohttp", "sklearn", "rensa", "py3langid", "ray"}
MODULES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    """The package (or top module) that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, at run time on import) of every import statement, those for type checking left out."""
    tree = ast.parse(path.read_text("utf-8"))
    skipped: set[ast.AST] = set()
    inner: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(n for child in node.body for n in ast.walk(child))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner.update(n for n in ast.walk(node) if n is not node)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in inner
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                # `from arenaloop import x` and `from arenaloop.a import b` may both name a module
                yield f"{node.module}.{alias.name}", node not in inner


def names() -> Iterator[str]:
    for path in MODULES:
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_contributors_are_told_the_layers() -> None:
    told = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    shown = re.search(r"^ {4}cli(?:.*\n)+?\n", told, re.M)
    assert shown is not None
    assert [sorted(re.findall(r"\w+", line)) for line in shown[0].split("→")] == [sorted(names) for names in LAYERS]


def test_every_module_has_a_place_in_the_house() -> None:
    rooms = {room(path) for path in MODULES} - {"__init__", "__main__"}
    assert rooms <= set(LEVEL) | {"ratings"}, "a new package needs a line in LAYERS"
    assert {"cli", "arena", "ratings", "store"} <= rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down_only(path: Path) -> None:
    own = room(path)
    if own in ("__init__", "__main__"):
        return
    for name, _ in imports(path):
        parts = name.split(".")
        if parts[0] != "arenaloop" or len(parts) < 2:
            continue
        other = parts[1]
        if own == "ratings":
            assert other == "ratings", f"ratings imports numpy and scipy alone, not {name}"
        elif other == "ratings":
            assert LEVEL[own] <= LEVEL["calls"], f"{own} may not import {name}"
        else:
            assert LEVEL[other] >= LEVEL[own], f"{own} may not import {name}: it stands above"


def test_ratings_imports_numpy_and_scipy_alone() -> None:
    outside = {name.split(".")[0] for path in MODULES if room(path) == "ratings" for name, _ in imports(path)} - set(
        sys.stdlib_module_names
    )
    assert outside <= {"numpy", "scipy", "arenaloop"}
    assert "numpy" in outside


def test_torch_stays_in_its_rooms() -> None:
    users = {
        str(path.relative_to(SOURCE))
        for path in MODULES
        for name, _ in imports(path)
        if name.split(".")[0] in ("torch", "transformers")
    }
    strangers = {user for user in users if not user.startswith(TORCH_ROOMS)}
    assert not strangers
    assert any(user.startswith("train/") for user in users)
    for path in MODULES:  # the sandbox and the local model are imported without it
        if room(path) != "train":
            assert not {n for n, early in imports(path) if early and n.split(".")[0] in ("torch", "transformers")}, path


def test_one_module_knows_adapters() -> None:
    users = {
        str(path.relative_to(SOURCE)) for path in MODULES for name, _ in imports(path) if name.split(".")[0] == "peft"
    }
    assert users == {"models/adapters.py"}


def test_ray_stays_in_its_room() -> None:
    users = {path: early for path in MODULES for name, early in imports(path) if name.split(".")[0] == "ray"}
    assert {path.parent.name for path in users} == {"engines", "open_weights"}
    assert not any(users.values())  # imported when it is asked for


def test_recipes_know_no_spec_and_no_sandbox() -> None:
    users = {
        room(path)
        for path in MODULES
        for name, _ in imports(path)
        if name.startswith("arenaloop.sandbox") and room(path) != "sandbox"
    }
    assert users <= {"specs", "cli"}


def strings(path: Path) -> Iterator[str]:
    """Every string of a module; of formatted ones what stands between the braces is left out."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_sql_stays_in_the_store() -> None:
    """Who wants to know something of an arena file asks it by name."""
    sql = re.compile(
        r"\bSELECT\b.+\bFROM\b|\bINSERT (OR \w+ )?INTO\b|\bCREATE (TABLE|INDEX)\b|\bUPDATE \w+ SET\b", re.S
    )
    users = {room(path) for path in MODULES for text in strings(path) if sql.search(text)}
    assert users == {"store"}


def test_no_room_without_a_purpose() -> None:
    assert not [p for p in SOURCE.rglob("*") if p.stem in ("utils", "util", "common", "helpers", "misc")]


@pytest.mark.parametrize("name", sorted(names()))
def test_public_names_exist(name: str) -> None:
    if name == "arenaloop.__main__":
        return
    module = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    assert [n for n in public if not hasattr(module, n)] == []
    assert len(public) == len(set(public))


def loaded_by(code: str) -> set[str]:
    """Top-level packages in memory after `code` has run in a fresh interpreter."""
    program = f"{code}\nimport json, sys\nprint('\\n' + json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.strip().splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import arenaloop",
        "import sys\nfrom arenaloop.cli import main\nsys.argv = ['arenaloop', '--help']\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 0",
        "import arenaloop.arena.battles, arenaloop.judges.pairwise, arenaloop.store, arenaloop.recipes.arena_learning",
    ],
    ids=["import", "help", "core"],
)
def test_nothing_heavy_is_loaded_early(code: str) -> None:
    packages = loaded_by(code)
    assert "arenaloop" in packages
    assert not packages & HEAVY
