"""Do the projects that we export to read what we wrote, row for row and text for text? Their own loaders are run.

Run by hand, in a virtual environment of its own beside arenaloop's packages; what is not installed is skipped by name:

    pip install --no-deps llamafactory axolotl openrlhf verl alpaca_eval ray kernels colorama addict pylatexenc \
        omegaconf python-dotenv fire tensordict av modelscope msgpack jsonschema referencing rpds-py termcolor patsy
    python experiments/export_loaders.py runs/demo
    python experiments/export_loaders.py runs/demo --nemo CHECKOUT --arena-hard CHECKOUT

Beside the run's rows, ROWS of several turns and of odd characters are exported. The tokenizer is one of bytes, so that
every text comes back from its tokens. Sound and pictures, which nothing here has, are stubs where they do not install.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from arenaloop.data.export.axolotl import stands_before

os.environ.setdefault("HF_HUB_OFFLINE", "1")

Turns = list[dict[str, str]]


def _says(role: str) -> Callable[[str], dict[str, str]]:
    return lambda text: {"role": role, "content": text}


USER, BOT, SYSTEM = _says("user"), _says("assistant"), _says("system")
ODD = "\x00\x1b[31m\u202eodd\u2028\r\n=cmd()\t𝔘<image>  "
ROWS: dict[str, list[dict[str, Any]]] = {
    "sft": [
        {"messages": [SYSTEM("Be brief."), USER("Two?"), BOT("2 it is.")], "margin": 2.0, "verdicts": ["k"]},
        {"messages": [USER("One?"), BOT("1 it is."), USER("Then?"), BOT("Then two.")]},
        {"prompt": [USER("Who?")], "completion": [BOT("Somebody."), USER("Who else?"), BOT("Nobody else.")]},
        {"messages": [USER(ODD), BOT("answer " + ODD + "end")]},
        {"messages": [USER("long"), BOT("word " * 40_000 + "end")]},
        {"messages": [USER("half \ud800"), BOT("a pair")]},
    ],
    "preferences": [
        {
            "prompt": [SYSTEM("S"), USER("q"), BOT("a"), USER("r")],
            "chosen": [BOT("good one")],
            "rejected": [BOT("zzz")],
        },
        {
            "prompt": [USER("first?")],
            "chosen": [BOT("good one"), USER("second?"), BOT("better")],
            "rejected": [BOT("bad one"), USER("second?"), BOT("worse")],
        },
        {"prompt": [USER(ODD)], "chosen": [BOT("good " + ODD + "end")], "rejected": [BOT("bad one")], "margin": 1.5},
        {"prompt": [USER("q?")], "chosen": [BOT("something")], "rejected": [BOT("")]},
        {"prompt": [USER("half \udfff")], "chosen": [BOT("one thing")], "rejected": [BOT("another")]},
    ],
}


def byte_tokenizer() -> Any:
    """A tokenizer whose tokens are bytes, with a ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {letter: at for at, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(vocab, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    return tokenizer


def rendered(turns: Turns, ask: bool = False) -> str:
    """What the template makes of turns, by hand."""
    text = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in turns)
    return text + ("<|im_start|>assistant\n" if ask else "")


class Exports:
    """What was exported of each source, and what ought to be read.

    Args:
        source: of rows.
        folder: to write in.
    """

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.folder = source, folder

    def write(self, to: str, kind: str = "", ending: str = ".jsonl", **options: str) -> tuple[Path, dict[str, Any]]:
        """Export by the command; the file and the account."""
        out = self.folder / f"{to}_{kind}{ending}"
        more = [word for name, value in options.items() for word in (f"--{name}", value)]
        command = [
            sys.executable,
            "-m",
            "arenaloop",
            "export",
            str(self.source),
            "--to",
            to,
            "--out",
            str(out),
            "--json",
        ]
        done = subprocess.run(
            [*command, *(["--kind", kind] if kind else []), *more], check=True, capture_output=True, text=True
        )
        return out, json.loads(done.stdout)

    def expected(self, kind: str, left_out: dict[str, Any]) -> list[tuple[Turns, list[Turns]]]:
        """(prompt, answers) of the rows, less those left out by a reason of OUT, which is told anew here."""
        rows = []
        for file in self._files(kind):
            with file.open("rb") as lines:
                rows += [_parts(json.loads(line)) for line in lines]
        if kind == "prompts":
            unique: dict[str, tuple[Turns, list[Turns]]] = {}
            for prompt, _ in rows:
                unique.setdefault(json.dumps(prompt), (prompt, []))
            rows = list(unique.values())
        return [row for row in rows if not any(OUT[_known(reason)](row) for reason in left_out)]

    def _files(self, kind: str) -> list[Path]:
        if self.source.is_file():
            return [self.source]
        summary = json.loads((self.source / "summary.json").read_text())
        names = [stage["name"] for stage in summary["stages"]]
        files = [self.source / "data" / f"{name}.jsonl" for name in names]
        wanted = {"sft": "SFT", "preferences": "DPO"}.get(kind, "")
        return [file for file in files if file.is_file() and file.name.startswith(wanted)]


OUT: dict[str, Callable[[tuple[Turns, list[Turns]]], bool]] = {
    "half of a surrogate": lambda row: any("\ud800" <= c <= "\udfff" for t in _all(row) for c in t["content"]),
    "answers of several turns": lambda row: any(len(answer) > 1 for answer in row[1]),
    "an empty answer": lambda row: any(not answer[0]["content"].strip() for answer in row[1]),
    "an answer that axolotl": lambda row: any(stands_before(answer[0]["content"]) for answer in row[1]),
    "the text <image>": lambda row: any("<image>" in turn["content"] for turn in row[0]),
    "a prompt of more": lambda row: [turn["role"] for turn in row[0]] != ["user"],
}


def _known(reason: str) -> str:
    return next(start for start in OUT if reason.startswith(start))


def _all(row: tuple[Turns, list[Turns]]) -> Iterator[dict[str, str]]:
    yield from row[0]
    for answer in row[1]:
        yield from answer


def _parts(row: dict[str, Any]) -> tuple[Turns, list[Turns]]:
    if "chosen" in row:
        return row["prompt"], [row["chosen"], row["rejected"]]
    if "completion" in row:
        return row["prompt"], [row["completion"]]
    return row["messages"][:-1], [row["messages"][-1:]]


def same(found: list[Any], wanted: list[Any]) -> int:
    """How many rows, all of them equal; fails at the first that is not."""
    assert len(found) == len(wanted), (len(found), len(wanted))
    for at, (one, other) in enumerate(zip(found, wanted, strict=True)):
        assert one == other, f"row {at}: {str(one)[:300]!r}\n is not {str(other)[:300]!r}"
    return len(found)


# ---------------------------------------------------------------------- loaders


def tiny_model(tokenizer: Any, folder: Path) -> str:
    """A model of random weights, which nothing here runs, on disk."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes))
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return str(folder / "model")


def check_trl(exports: Exports, kind: str, tokenizer: Any) -> int:
    """SFTTrainer and DPOTrainer prepare the rows; prompts are TRL's conversational ones."""
    from datasets import load_dataset

    trl: Any = import_module("trl")  # it exports its names as they are asked for, which types do not see

    path, account = exports.write("trl", kind)
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(exports.folder))
    wanted = exports.expected(kind, account["left_out"])
    if kind == "prompts":
        assert all(map(trl.is_conversational, rows))
        return same([row["prompt"] for row in rows], [prompt for prompt, _ in wanted])
    plain: dict[str, Any] = {"output_dir": str(exports.folder / "trl"), "use_cpu": True, "report_to": "none"}
    decode = tokenizer.decode
    if kind == "sft":
        args = trl.SFTConfig(max_length=None, **plain)
        made = trl.SFTTrainer(
            tiny_model(tokenizer, exports.folder), args, train_dataset=rows, processing_class=tokenizer
        ).train_dataset
        found = []
        for row in made:
            begin = next(at for at, label in enumerate(row["labels"]) if label != -100)
            found.append((decode(row["input_ids"][:begin]), decode(row["input_ids"][begin:]).rstrip("\n")))
        return same(found, [_split(prompt, answers[0]) for prompt, answers in wanted])
    dpo = trl.DPOTrainer(
        tiny_model(tokenizer, exports.folder),
        args=trl.DPOConfig(max_length=None, **plain),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    found = [
        (decode(row["prompt_ids"]), *(decode(row[name]).rstrip("\n") for name in ("chosen_ids", "rejected_ids")))
        for row in dpo.train_dataset
    ]
    return same(found, [(rendered(p, ask=True), *(_split(p, one)[1] for one in both)) for p, both in wanted])


def _split(prompt: Turns, answer: Turns) -> tuple[str, str]:
    """The text up to the answer, and the answer's, without the last line's end."""
    before = rendered(prompt, ask=True)
    return before, rendered(prompt + answer)[len(before) :].rstrip("\n")


def check_llama_factory(exports: Exports, kind: str, tokenizer: Any) -> int:
    """Its own look-up in dataset_info.json, loader and converter."""
    _stub("torchaudio")
    from llamafactory.data.loader import _load_single_dataset
    from llamafactory.data.parser import get_dataset_list

    path, account = exports.write("llama-factory", kind)
    attr = get_dataset_list([path.stem], str(path.parent))[0]
    assert attr.ranking == (kind == "preferences")
    data = SimpleNamespace(
        dataset_dir=str(path.parent), streaming=False, preprocessing_num_workers=1, max_samples=None, media_dir="",
        overwrite_cache=True,
    )  # fmt: skip
    rows = _load_single_dataset(
        attr,
        SimpleNamespace(cache_dir=str(exports.folder), hf_hub_token=None),
        data,
        SimpleNamespace(local_process_index=0, dataloader_num_workers=1),
    )
    found = []
    for row in rows:
        system = [SYSTEM(row["_system"])] if row["_system"] else []
        found.append((system + row["_prompt"], row["_response"]))
    wanted = []
    for prompt, answers in exports.expected(kind, account["left_out"]):
        whole = prompt + (answers[0] if kind == "sft" else [])
        last = {"sft": whole[-1:], "preferences": [a[0] for a in answers], "prompts": [BOT("")]}[kind]
        wanted.append((whole[: -1 if kind == "sft" else None], last))
    return same(found, wanted)


def check_axolotl(exports: Exports, kind: str, tokenizer: Any) -> int:
    """Its prompt strategies, with the printed snippet as settings, which its schema takes."""
    _stub("torchaudio")
    import yaml
    from axolotl.prompt_strategies.chat_template import load
    from axolotl.prompt_strategies.dpo.chat_template import default
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.datasets import DPODataset, SFTDataset
    from datasets import load_dataset

    path, account = exports.write("axolotl", kind)
    settings = yaml.safe_load("\n".join(account["advice"]))
    (SFTDataset if kind == "sft" else DPODataset).model_validate(settings["datasets"][0])
    cfg = DictDefault(settings | {"sequence_len": 1 << 20, "train_on_inputs": False})
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(exports.folder))
    wanted = exports.expected(kind, account["left_out"])
    if kind == "sft":
        strategy = load(tokenizer, cfg, ds_cfg=settings["datasets"][0])
        found = []
        for row in rows:
            made = strategy.tokenize_prompt(dict(row))
            learned = [token for token, label in zip(made["input_ids"], made["labels"], strict=True) if label != -100]
            found.append((tokenizer.decode(made["input_ids"]), tokenizer.decode(learned)))
        ends = [
            (rendered(p + a[0]), "".join(t["content"] + "<|im_end|>" for t in a[0] if t["role"] == "assistant"))
            for p, a in wanted
        ]
        return same(found, ends)
    transform, _ = default(cfg)
    made = [transform(row, tokenizer=tokenizer) for row in rows]
    pairs = [(row["prompt"], row["chosen"], row["rejected"]) for row in made]
    return same(pairs, [(rendered(p, ask=True), *(a[0]["content"] + "<|im_end|>" for a in both)) for p, both in wanted])


def check_openrlhf(exports: Exports, kind: str, tokenizer: Any) -> int:
    """Its data sets, with the printed flags as arguments."""
    from openrlhf.datasets import PromptDataset, RewardDataset, SFTDataset
    from openrlhf.datasets.utils import blending_datasets

    _, account = exports.write("openrlhf", kind)
    words = account["advice"][0].split()
    flags: dict[str, Any] = {}
    for at, word in enumerate(words):
        if word.startswith("--data."):
            value = words[at + 1] if at + 1 < len(words) and not words[at + 1].startswith("--") else True
            flags[word.removeprefix("--data.")] = value
    strategy = SimpleNamespace(
        args=SimpleNamespace(data=SimpleNamespace(**flags), use_ms=False),
        print=lambda *_: None,
        is_rank_0=lambda: False,
    )
    rows = blending_datasets(flags.get("dataset") or flags["prompt_dataset"], None, strategy)
    wanted = exports.expected(kind, account["left_out"])
    if kind == "prompts":
        made = PromptDataset(rows, tokenizer, strategy)
        return same([made[at][1] for at in range(len(made))], [rendered(p, ask=True) for p, _ in wanted])
    if kind == "preferences":
        made = RewardDataset(rows, tokenizer, 1 << 20, strategy, is_dpo=True, num_processors=1)
        found = list(zip(made.prompts, made.chosens, made.rejects, strict=True))
        return same(found, [(b := rendered(p, ask=True), *(rendered(p + a)[len(b) :] for a in t)) for p, t in wanted])
    many = bool(flags.get("multiturn"))
    made = SFTDataset(rows, tokenizer, 1 << 20, strategy, num_processors=1, multiturn=many)
    found = [prompt + response for prompt, response in zip(made.prompts, made.responses, strict=True)]
    for at in range(len(made)):
        ids, _, mask = made[at]
        told = tokenizer.decode(ids[0][1:][mask[0][:-1] == 1])  # the mask is of the token that comes next
        given, learned = wanted[at][0], wanted[at][1][0]
        turns = [t for t in (given + learned if many else learned) if t["role"] == "assistant"]
        for turn in turns:
            assert turn["content"].rstrip("\n") in told, f"row {at}: {turn} is not learned"
    return same(found, [rendered(p + a[0]) for p, a in wanted])


def check_verl(exports: Exports, kind: str, tokenizer: Any) -> int:
    """RLHFDataset and MultiTurnSFTDataset."""
    import transformers.models.qwen2_vl.modeling_qwen2_vl as pictures
    from omegaconf import OmegaConf

    if not hasattr(pictures, "Qwen2VLCausalLMOutputWithPast"):  # of a later transformers than verl is for
        setattr(pictures, "Qwen2VLCausalLMOutputWithPast", object)  # noqa: B010
    from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset
    from verl.utils.dataset.rl_dataset import RLHFDataset

    path, account = exports.write("verl", kind, ".parquet")
    flags = dict(word.split("=", 1) for line in account["advice"][:1] for word in line.split())
    wanted = exports.expected(kind, account["left_out"])
    if kind == "prompts":
        config = OmegaConf.create(
            {"prompt_key": flags["data.prompt_key"], "max_prompt_length": 1 << 20, "cache_dir": str(exports.folder),
             "filter_overlong_prompts_workers": 1, "return_raw_chat": True}
        )  # fmt: skip
        made = RLHFDataset(str(path), tokenizer, config)
        rows = [made[at] for at in range(len(made))]
        assert all(row["reward_model"]["ground_truth"] == "" and row["extra_info"]["split"] == "train" for row in rows)
        return same([list(map(dict, row["raw_prompt"])) for row in rows], [p for p, _ in wanted])
    config = OmegaConf.create(
        {"messages_key": flags["data.messages_key"], "max_length": 1 << 20, "pad_mode": "no_padding"}
    )
    made = MultiTurnSFTDataset(str(path), tokenizer, config)
    found = []
    for at in range(len(made)):
        row = made[at]
        found.append((tokenizer.decode(row["input_ids"]), tokenizer.decode(row["input_ids"][row["loss_mask"] == 1])))
    return same(
        found,
        [
            (rendered(p + a[0]), "".join(f"{t['content']}<|im_end|>\n" for t in p + a[0] if t["role"] == "assistant"))
            for p, a in wanted
        ],
    )


def check_nemo_rl(exports: Exports, kind: str, tokenizer: Any) -> int:
    """Its data set classes, and for preferences and SFT its message log."""
    _stub("soundfile")
    from nemo_rl.data.datasets.preference_datasets.preference_dataset import PreferenceDataset
    from nemo_rl.data.datasets.response_datasets.oai_format_dataset import OpenAIFormatDataset
    from nemo_rl.data.datasets.response_datasets.response_dataset import ResponseDataset

    path, account = exports.write("nemo-rl", kind)
    wanted = exports.expected(kind, account["left_out"])
    if kind == "prompts":
        rows = ResponseDataset(str(path), split="train").dataset
        return same([row["messages"][:1] for row in rows], [p for p, _ in wanted])
    if kind == "sft":
        rows = OpenAIFormatDataset(str(path)).dataset
        return same([row["messages"] for row in rows], [p + a[0] for p, a in wanted])
    rows = PreferenceDataset(str(path), split="train").dataset
    found = [
        (row["context"], [one["completion"] for one in sorted(row["completions"], key=lambda c: c["rank"])])
        for row in rows
    ]
    return same(found, wanted)


# ---------------------------------------------------------------------- verdicts


def check_alpaca_eval(run: Path, baseline: str, folder: Path) -> str:
    """Its get_winrate of each model, against `arenaloop winrate`."""
    from alpaca_eval.metrics import get_winrate

    out, account = Exports(run, folder).write("alpaca-eval", ending="", baseline=baseline)
    rows = json.loads((out / "annotations.json").read_text("utf-8"))
    ours = _ours("winrate", str(run), "--baseline", baseline)
    for row in ours["leaderboard"]:
        theirs = get_winrate([one for one in rows if one["generator_2"] == row["model"]])
        assert abs(theirs["win_rate"] - row["win_rate"]) < 1e-9, (row["model"], theirs["win_rate"], row["win_rate"])
        assert theirs["n_total"] == row["n_total"]
    return f"{account['written']:,} annotations, {len(ours['leaderboard'])} win rates equal to 1e-9"


def check_arena_hard(run: Path, baseline: str, folder: Path, checkout: Path) -> str:
    """`load_judgments` of its show_result, against the verdicts in our arena file by way of our reader."""
    out, account = Exports(run, folder).write("arena-hard", ending="", baseline=baseline)
    bench = folder / "data" / "bench"
    bench.mkdir(parents=True)
    (bench / "model_judgment").symlink_to(out.resolve())
    os.environ["PYTHONPATH"] = os.pathsep.join([str(checkout.resolve()), os.environ.get("PYTHONPATH", "")])
    code = (
        "import json, sys; from show_result import load_judgments; "
        f"d = load_judgments({[p.name for p in out.iterdir()]!r}, 'bench'); "
        "d['scores'] = d['scores'].astype(float); "
        "print(json.dumps([len(d), d.groupby('model')['scores'].mean().to_dict()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True)
    games, means = json.loads(done.stdout.splitlines()[-1])
    for judge in out.iterdir():
        ours = _ours("rank", str(judge))
        for row in ours["leaderboard"]:
            if row["model"] != baseline:
                assert abs(means[row["model"]] - row["win_rate"]) < 1e-9, (row["model"], means, row["win_rate"])
    return f"{account['written']:,} judgments, {games:,} games, {len(means)} mean scores equal to 1e-9"


def _ours(*words: str) -> Any:
    command = [sys.executable, "-m", "arenaloop", *words, "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _stub(name: str) -> None:
    """A module of that name, where none is installed."""
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)


CHECKS: dict[str, tuple[Callable[[Exports, str, Any], int], tuple[str, ...]]] = {
    "trl": (check_trl, ("sft", "preferences", "prompts")),
    "llama-factory": (check_llama_factory, ("sft", "preferences", "prompts")),
    "axolotl": (check_axolotl, ("sft", "preferences")),
    "openrlhf": (check_openrlhf, ("sft", "preferences", "prompts")),
    "verl": (check_verl, ("sft", "prompts")),
    "nemo-rl": (check_nemo_rl, ("sft", "preferences", "prompts")),
}


def of_rows(check: Callable[[Exports, str, Any], int], source: Path, kind: str, tokenizer: Any, folder: Path) -> int:
    """One check of one kind of rows, written below a folder of its own."""
    return check(Exports(source, folder), kind, tokenizer)


def main() -> None:
    """Run the checks that are asked for; exit code 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory of Arena Learning")
    parser.add_argument("--formats", nargs="*", default=[*CHECKS, "alpaca-eval", "arena-hard"])
    parser.add_argument("--baseline", default="SFT-I0")
    parser.add_argument("--nemo", type=Path, help="a checkout of NeMo-RL, which no registry has")
    parser.add_argument("--arena-hard", type=Path, help="a checkout of arena-hard-auto")
    args = parser.parse_args()
    if args.nemo:
        sys.path.insert(0, str(args.nemo))
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = {"run": args.run}
        for kind, rows in ROWS.items():
            sources[kind] = folder / f"{kind}.jsonl"
            sources[kind].write_text("".join(json.dumps(row) + "\n" for row in rows))
        tokenizer = byte_tokenizer()
        for to in args.formats:
            checks: list[tuple[str, Callable[[Path], Any]]] = []
            if to == "alpaca-eval":
                checks.append(("win rates", lambda at: check_alpaca_eval(args.run, args.baseline, at)))
            elif to == "arena-hard" and args.arena_hard:
                checks.append(("scores", lambda at: check_arena_hard(args.run, args.baseline, at, args.arena_hard)))
            elif to in CHECKS:
                check, kinds = CHECKS[to]
                for kind in kinds:
                    for label in ("run", "sft" if kind == "prompts" else kind):
                        of = sources[label]
                        what = f"{kind} of {'the run' if of == args.run else 'ROWS'}"
                        checks.append((what, partial(of_rows, check, of, kind, tokenizer)))
            for number, (what, one) in enumerate(checks):
                at = folder / f"{to}-{number}"
                at.mkdir()
                try:
                    found = one(at)
                    print(
                        f"{to:14} {what:26} {f'{found:,} rows equal' if isinstance(found, int) else found}", flush=True
                    )
                except ImportError as error:
                    print(f"{to:14} {what:26} not installed: {error}", flush=True)
                except Exception as error:
                    failed = True
                    told = error.stderr if isinstance(error, subprocess.CalledProcessError) else error
                    print(f"{to:14} {what:26} FAILED: {type(error).__name__}: {str(told)[-800:]}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
