"""`arenaloop adopt`: a run goes on from a model that another trainer made of its rows, and from no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from small_recipe import RECIPE
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from arenaloop.config import override
from arenaloop.jsonl import read_rows
from arenaloop.store import Store

pytestmark = pytest.mark.slow
Command = Callable[..., Any]


def foreign(start: Path, rows: Path, out: Path, steps: int = 8) -> Path:
    """What a trainer without a word of ours makes of a model: plain transformers, and its own way to save."""
    torch.manual_seed(0)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(start), cast(Any, AutoTokenizer.from_pretrained(start))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _, (_, row) in zip(range(steps), read_rows(rows), strict=False):
        ids = tokenizer.apply_chat_template(row["messages"], return_tensors="pt", return_dict=True)["input_ids"]
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that has stopped at SFT-I1, and what another trainer made of its rows."""
    from typer.testing import CliRunner

    from arenaloop.cli import app

    folder = tmp_path_factory.mktemp("adopt")
    recipe = {**override(RECIPE, ["name=small"]), "elsewhere": ["SFT-I1"]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = CliRunner().invoke(app, ["run", str(folder / "recipe.yaml"), "--out", str(folder / "run")])
    assert type(done.exception).__name__ == "StoppedError"
    told = str(done.exception)
    assert told.startswith("SFT-I1 is trained elsewhere (elsewhere): ")
    assert "elsewhere/SFT-I1.jsonl; bring the model with `arenaloop adopt " in told
    run = folder / "run"
    foreign(run / "checkpoints" / "SFT-I0", run / "elsewhere" / "SFT-I1.jsonl", folder / "ckpt" / "global_step8_hf")
    return run, folder / "ckpt"


@pytest.fixture
def run(stopped: tuple[Path, Path], tmp_path: Path) -> Path:
    """The run, to be changed."""
    return Path(shutil.copytree(stopped[0], tmp_path / "run"))


def copied(stopped: tuple[Path, Path], out: Path) -> Path:
    return Path(shutil.copytree(stopped[1] / "global_step8_hf", out))


def test_a_run_goes_on_from_the_model_of_another_trainer(
    arenaloop: Command, stopped: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    recipe = stopped[0].parent / "recipe.yaml"
    done = arenaloop("adopt", run, stopped[1], "--json")
    assert done.code == 0, done.lines
    record = json.loads(done.out)
    assert record["stage"] == "SFT-I1", "the first one without a model"
    assert (record["kind"], record["template"]) == ("model", "the same")
    probe = record["probe"]
    assert probe["answers"] == 32
    own, before = probe["figures"].values()
    assert before < own < 0, "its rows are among the stored answers"
    assert json.loads((run / "checkpoints" / "SFT-I1" / "adopted.json").read_text()) == record

    done = arenaloop("run", recipe, "--out", run, "--json")
    assert done.code == 0, done.lines
    stages = {stage["name"]: stage for stage in json.loads(done.out)["stages"]}
    assert stages["SFT-I1"]["adopted"] == record
    assert stages["SFT-I1"]["rows"] == 0
    assert "adopted" not in stages["DPO-I1"]
    assert stages["SFT-I1"]["mean_length"] is not None
    first, second = (
        load_file(path / "model.safetensors") for path in (run / "checkpoints/SFT-I1", stopped[1] / "global_step8_hf")
    )
    assert all(bool((first[name] == second[name]).all()) for name in first)
    made = json.loads((run / "checkpoints" / "DPO-I1" / "training.json").read_text())
    assert made["start"] == str(run / "checkpoints" / "SFT-I1")
    with Store(run / "arena.db", readonly=True) as store:
        told = dict(store.stages())
    assert told["SFT-I1"]["adopted"]["fingerprint"] == told["SFT-I1"]["checkpoint"]
    verdicts = json.loads(done.out)["verdicts_ok"]

    again = arenaloop("run", recipe, "--out", run, "--set", "launch={nproc_per_node: 9}", "--json")
    assert again.code == 0
    assert json.loads(again.out)["verdicts_ok"] == json.loads(again.out)["cached"] == verdicts, "nothing is done twice"
    shown = arenaloop("show", run, "--json")
    assert any(note.startswith("SFT-I1: adopted from ") for note in json.loads(shown.out)["notes"])
    traced = arenaloop("trace", run, "SFT-I1", "--json")
    assert any(note.startswith("adopted from ") for note in json.loads(traced.out)["notes"])
    learned = json.loads(arenaloop("trace", run, "SFT-I1:1", "--json").out)["trained"]
    assert learned[0]["how"].startswith("adopted from another trainer")
    assert not learned[0]["finished"]
    report = (run / "report.html").read_text()
    assert "Another trainer made SFT-I1, which this run adopted." in report
    assert record["from"] in report

    # another model in its place: what comes after it is worked again, and what stood there is kept
    other = foreign(run / "checkpoints" / "SFT-I0", run / "elsewhere" / "SFT-I1.jsonl", tmp_path / "other", 12)
    refused = arenaloop("adopt", run, other, "--stage", "SFT-I1")
    assert (refused.code, len(refused.lines)) == (2, 1)
    assert "--replace has this one take its place" in refused.lines[0]
    done = arenaloop("adopt", run, other, "--stage", "SFT-I1", "--replace")
    assert done.code == 0
    assert "note: DPO-I1 will be worked again" in " ".join(done.lines)
    assert (run / "checkpoints" / "SFT-I1.replaced-1" / "adopted.json").exists()
    weights = (run / "checkpoints" / "DPO-I1" / "model.safetensors").read_bytes()
    assert arenaloop("run", recipe, "--out", run).code == 0
    assert (run / "checkpoints" / "DPO-I1" / "model.safetensors").read_bytes() != weights

    # a model that was changed since is not what was adopted
    (run / "checkpoints" / "SFT-I1" / "generation_config.json").write_text("{}")
    changed = arenaloop("run", recipe, "--out", run)
    assert changed.code == 2
    assert "SFT-I1 has changed since it was adopted" in changed.lines[-1]


def tokenizer_with(*tokens: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        tokenizer = AutoTokenizer.from_pretrained(path)
        tokenizer.add_tokens(list(tokens))
        tokenizer.save_pretrained(path)

    return change


def with_config(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = path / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def with_weights(value: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = path / "model.safetensors"
        weights = {name: value(each) for name, each in load_file(file).items()}
        save_file(weights, file, {"format": "pt"})

    return change


def cut(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-7])


def pickled(path: Path) -> None:
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (pickled, "pytorch_model.bin is a pickle, which can run code when it is loaded"),
        (cut, "bytes: it was cut, or is still being written"),
        (tokenizer_with("<tool>"), "its tokenizer is not the run's: "),
        (with_config(num_hidden_layers=3), "num_hidden_layers 3 (the run's model: 1)"),
        (with_config(architectures=["LlamaForSequenceClassification"]), "is no causal language model"),
        (with_config(auto_map={"AutoModel": "x.Y"}), "code of its own"),
        (with_weights(lambda each: each * torch.inf), "holds values that are no finite numbers"),
        (with_weights(lambda each: each * 40), "this is no model that was trained on from the run's"),
    ],
    ids=["pickle", "cut", "tokenizer", "layers", "classifier", "code", "infinite", "strange"],
)
def test_what_does_not_fit_is_refused_in_a_line(
    change: Callable[[Path], None],
    why: str,
    arenaloop: Command,
    stopped: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    source = copied(stopped, tmp_path / "other")
    change(source)
    done = arenaloop("adopt", stopped[0], source)
    assert (done.code, len(done.lines)) == (2, 1), done.lines
    assert why in done.lines[0]
    assert not (stopped[0] / "checkpoints" / "SFT-I1").exists()
    assert not (stopped[0] / "checkpoints" / "SFT-I1.adopting").exists()


def test_another_template_is_taken_if_it_is_said_which(
    arenaloop: Command, stopped: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    source = copied(stopped, tmp_path / "other")
    tokenizer = AutoTokenizer.from_pretrained(source)
    own = tokenizer.chat_template
    tokenizer.chat_template = "{{ ' ' }}" + own
    tokenizer.save_pretrained(source)
    done = arenaloop("adopt", run, source)
    assert done.code == 2
    assert "its chat template differs: " in done.lines[0]
    for which, wanted in (("run", own), ("checkpoint", "{{ ' ' }}" + own)):
        assert arenaloop("adopt", run, source, "--template", which, "--stage", "SFT-I1", "--replace").code == 0
        assert AutoTokenizer.from_pretrained(run / "checkpoints" / "SFT-I1").chat_template == wanted
    for file in source.glob("*token*"):
        file.unlink()
    for file in source.glob("chat_template*"):
        file.unlink()
    done = arenaloop("adopt", run, source, "--stage", "SFT-I1", "--replace", "--json")
    assert done.code == 0, done.lines
    assert json.loads(done.out)["template"] == "missing, as the tokenizer is; the run's"
    assert AutoTokenizer.from_pretrained(run / "checkpoints" / "SFT-I1").chat_template == own


@pytest.mark.long
def test_an_adapter_stands_beside_the_model_of_the_run(
    arenaloop: Command, stopped: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    base = Path(shutil.copytree(run / "checkpoints" / "SFT-I0", tmp_path / "copied"))
    model = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    )
    model.save_pretrained(tmp_path / "lora")
    done = arenaloop("adopt", run, tmp_path / "lora", "--json")
    assert done.code == 0, done.lines
    record = json.loads(done.out)
    assert (record["kind"], record["base"]) == ("adapter", str(run / "checkpoints" / "SFT-I0"))
    assert record["probe"]["answers"] == 32
    config = json.loads((run / "checkpoints" / "SFT-I1" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str((run / "checkpoints" / "SFT-I0").resolve())
    shutil.rmtree(base)
    gone = arenaloop("adopt", run, tmp_path / "lora", "--stage", "DPO-I1")
    assert gone.code == 2
    assert "is not here to be compared" in gone.lines[0]
    wrong = arenaloop("adopt", run, tmp_path / "lora", "--stage", "DPO-I1", "--base", run / "checkpoints" / "SFT-I0")
    assert wrong.code == 2
    assert "which is not what DPO-I1 starts from" in wrong.lines[0]


def test_a_reward_model_is_adopted_for_a_stage_that_makes_one(
    arenaloop: Command, stopped: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    config = run / "config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"stages": ["sft", "ppo"]}))
    start = run / "checkpoints" / "SFT-I0"
    model = AutoModelForSequenceClassification.from_pretrained(start, num_labels=1)
    model.save_pretrained(tmp_path / "rm")
    cast(Any, AutoTokenizer.from_pretrained(start)).save_pretrained(tmp_path / "rm")
    done = arenaloop("adopt", run, tmp_path / "rm", "--stage", "RM-I1", "--json")
    assert done.code == 0, done.lines
    record = json.loads(done.out)
    assert record["template"] == "its own"
    assert record["probe"]["answers"] == 32
    assert [*record["probe"]["figures"]] == ["mean score"]
    done = arenaloop("adopt", run, stopped[1], "--stage", "RM-I1", "--replace")
    assert (done.code, len(done.lines)) == (2, 1)
    assert "is no reward model: a sequence classifier with one label is one" in done.lines[0]
    assert json.loads((run / "checkpoints" / "RM-I1" / "adopted.json").read_text()) == record, "it stays"


def test_stages_and_directories_that_are_none(arenaloop: Command, stopped: tuple[Path, Path], tmp_path: Path) -> None:
    run, source = stopped
    for arguments, why in (
        ((run, source, "--stage", "SFT-1"), "no stage that trains (did you mean 'SFT-I1'?)"),
        ((tmp_path, source), "no run directory (config.yaml, arena.db)"),
        ((run, tmp_path / "nothing"), "nothing: no such directory"),
        ((run, source, "--template", "mine"), "expected run or checkpoint"),
        ((run, source, "--base", run), "is a whole model, no adapter"),
    ):
        done = arenaloop("adopt", *arguments)
        assert (done.code, len(done.lines)) == (2, 1), done.lines
        assert why in done.lines[0]
    with Store(run / "arena.db"):
        done = arenaloop("adopt", run, source)
    assert done.code == 2
    done = arenaloop("run", run.parent / "recipe.yaml", "--out", tmp_path / "x", "--set", "elsewhere=[SFT-1]")
    assert (done.code, len(done.lines)) == (2, 1)
    assert "elsewhere: 'SFT-1' is no stage (did you mean 'SFT-I1'?)" in done.lines[0]
