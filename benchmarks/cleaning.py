"""A pool with planted faults through `arenaloop clean`: what each step finds, and what it costs.

    python benchmarks/cleaning.py [--rows 50000] [--tests 1000] [--seed 0] [--dir DIR] [--libraries]

A synthetic pool: English sentences, and among them, each behind the row that it copies, equal rows in another writing,
rows that begin alike, near-duplicates (and rows that miss the threshold), short rows, rows with a bad word, other
languages; of the test prompts copies, halves within other text, and paraphrases. A column says what was planted. Then
`arenaloop clean` runs in a process of its own with its defaults and a filter for the bad word. Recall is the share of
planted rows that went (by their own step, or by any); precision the share of a step's drops that were planted for it.

Limits: 4 GiB at most; recall and precision of 0.99 but for near-duplicates (0.97), languages (0.98), and the rule of
ranks, which comes after the copies and halves of test prompts are gone, and drops its number whatever it finds. Exits
with 1 if one is missed.

``--libraries`` compares MinHash libraries instead: time, and how far estimates are from the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from arenaloop.jsonl import read_rows, write_jsonl

ARENALOOP = [sys.executable, "-c", "from arenaloop.cli import main; main()"]
COMMON = """
the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which you
were their all we her she there would been one so its who no if when them more out up what can time other into could
then some these two may only such new any very our most over also after made where how before through between should
because each people must even many those good way use work well down still own too same last long great since write
explain describe compare give list find plan make help show tell suggest summarise translate please
""".split()  # noqa: SIM905 - a list would take a page
STEMS = """
garden market engine river letter winter travel school doctor kitchen music budget camera bridge forest planet
window recipe history museum battery theatre harvest weather muscle pension printer railway servant textile village
whisper journal lantern machine network orchard passage quarrel reactor shelter teacher uniform venture warrior
archive barrier cabinet dialect element fashion gallery harbour insight justice kingdom library mission nursery
opinion package
""".split()  # noqa: SIM905 - a list would take a page
ENDS = ("", "s", "less", "like", "ship", "work", "making", "based", "ward", "craft", "room", "side")
TOPICS = [stem + end for stem in STEMS for end in ENDS]
TOPICS_SET = frozenset(TOPICS)
FOREIGN = {
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er "
    "hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur "
    "bis mehr durch man sein wurde schreibe erkläre bitte zeige warum können müssen zwischen",
    "fr": "de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il sont avec son mais "
    "comme ou si leur y dont elle aux cette ces sans entre deux même être fait tout nous après peut encore "
    "écrivez expliquez pourquoi montrez toujours beaucoup",
    "es": "de la que el en y a los del se las por un para con no una su al lo como más pero sus le ya o este sí porque "
    "esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante todos uno les ni "
    "contra otros escribe explica por favor muestra",
    "ru": "и в не на я быть он с что а по это она этот к но они мы весь который из у свой вы так же от сказать за для "
    "напишите объясните пожалуйста почему можно между после перед очень если только чтобы",
    "tr": "bir ve bu için ile de da çok olarak daha en gibi ne kadar sonra olan ama o her var mı değil veya nasıl "
    "neden açıkla yaz lütfen göster arasında olduğunu bana şey insanlar zaman",
}
BAD = "blarghword"
FILTER = f"def is_bad(conversations):\n    return [any('{BAD}' in t['content'] for t in c) for c in conversations]\n"
SHARES = {
    "toxic": 0.005, "short": 0.01, "equal": 0.05, "prefix": 0.03, "near": 0.05, "near miss": 0.02, "foreign": 0.04,
    "paraphrase of a row": 0.01,
}  # fmt: skip
"""Of the rows; of each test prompt there is one copy, one half within other text, and two paraphrases."""
STEP_OF = {
    "toxic": "toxic", "short": "min_len", "equal": "prefix", "prefix": "prefix", "near": "minhash",
    "test paraphrase": "nearest", "test copy": "held_out", "test half": "overlap", "foreign": "lang",
}  # fmt: skip
AIMS = {"toxic": 0.99, "min_len": 0.99, "prefix": 0.99, "minhash": 0.97, "lang": 0.98}


def sentence(rng: random.Random, least: int = 14, most: int = 60) -> list[str]:
    """Words of an English question, a third of them topics."""
    return [
        (rng.choice(TOPICS) if rng.random() < 0.35 else rng.choice(COMMON)) for _ in range(rng.randint(least, most))
    ]


def near(rng: random.Random, words: list[str], least: float, most: float) -> list[str] | None:
    """Words with some of them changed, the first always, so that 5-word n-grams have a Jaccard similarity between."""
    for changes in range(1, 6):
        other = list(words)
        for at in (0, *rng.sample(range(1, len(words)), changes - 1)):
            other[at] = rng.choice(TOPICS)
        one, two = ({tuple(text[n : n + 5]) for n in range(len(text) - 4)} for text in (words, other))
        if least <= len(one & two) / len(one | two) < most:
            return other
    return None


def paraphrase(rng: random.Random, words: list[str]) -> list[str]:
    """The same topics in another order, with other common words around them."""
    kept = [word if word in TOPICS_SET or rng.random() < 0.4 else rng.choice(COMMON) for word in words]
    cut = rng.randint(3, len(kept) - 3)
    kept = kept[cut:] + kept[:cut]
    for at in range(0, len(kept) - 1, 3):
        kept[at], kept[at + 1] = kept[at + 1], kept[at]
    return kept


def written(rng: random.Random, words: list[str]) -> str:
    """A text of words, in one of several writings that ask the same."""
    text = " ".join(words)
    return rng.choice((str, str.upper, str.capitalize, lambda t: f"  {t}?", lambda t: f"**{t}**"))(text)


def pool(rng: random.Random, count: int, tests: list[list[str]]) -> Iterator[dict[str, Any]]:
    """Rows, shuffled but for copies, which stand behind what they copy."""
    of_tests = [(kind, words) for words in tests for kind in ("test copy", "test half", *["test paraphrase"] * 2)]
    rng.shuffle(of_tests)
    base: list[list[str]] = []
    kinds, weights = [*SHARES, "test", "none"], [*SHARES.values(), len(of_tests) / count]
    weights.append(1 - sum(weights))
    for _ in range(count):
        (kind,) = rng.choices(kinds, weights)
        if kind == "test":
            if not of_tests:
                continue
            kind, asked = of_tests.pop()
        words = sentence(rng)
        copied = rng.choice(base) if base else words
        made: list[str] | None = words
        if kind == "toxic":
            words.insert(3, BAD)
        elif kind == "short":
            made = ["".join(rng.choices("abcdefghij", k=rng.randint(1, 9)))]
        elif kind == "foreign":
            made = rng.choices(FOREIGN[rng.choice(list(FOREIGN))].split(), k=rng.randint(12, 50))
        elif kind == "equal":
            made = copied
        elif kind == "prefix":
            made = copied[:10] + words
        elif kind == "near":
            made = near(rng, copied, 0.7, 1.0)
        elif kind == "near miss":
            made = near(rng, copied, 0.4, 0.66)
        elif kind == "paraphrase of a row":
            made = paraphrase(rng, copied)
        elif kind == "test copy":
            made = asked
        elif kind == "test half":
            made = words[:12] + asked[len(asked) // 3 :] + words[12:]
        elif kind == "test paraphrase":
            made = paraphrase(rng, asked)
        if made is None:
            kind, made = "none", words
        if kind == "none":
            if len(base) < 50_000:
                base.append(made)
            else:
                base[rng.randrange(50_000)] = made
        yield {"instruction": written(rng, made) if kind == "equal" else " ".join(made), "planted": kind}


def run(folder: Path, filter_file: Path) -> tuple[dict[str, Any], float, float, float]:
    """The command's document, its CPU and wall seconds, and its most memory in MiB."""
    command = [*ARENALOOP, "clean", "--prompts", folder / "pool.jsonl", "--against", folder / "tests.jsonl"]
    command += ["--out", folder / "clean.jsonl", "--toxic", f"python:{filter_file}:is_bad", "--json"]
    started = time.perf_counter()
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    wall = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{done.stderr}\nexit code {done.returncode}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(done.stdout), used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024


def judged(folder: Path, document: dict[str, Any], planted: Counter[str]) -> bool:
    """Print recall and precision; whether the aims are met."""
    went: Counter[tuple[str, str]] = Counter()
    for _, row in read_rows(document["dropped"]):
        went[row["planted"], row["dropped"]["step"]] += 1
    held = True
    print(f"\n{'planted':22} {'rows':>9} {'own step':>14} {'own':>8} {'any':>8}")
    for kind, count in planted.most_common():
        own = STEP_OF.get(kind, "–")
        anyone = sum(n for (what, _), n in went.items() if what == kind) / count
        mine = went[kind, own] / count
        print(f"{kind:22} {count:9,} {own:>14} {mine:8.4f} {anyone:8.4f}")
        held &= anyone >= AIMS.get(own, 0.99 if own in ("held_out", "nearest", "overlap") else 0.0) or own == "nearest"
    print(f"\n{'step':22} {'before':>9} {'dropped':>14} {'planted for it':>15} {'precision':>10}")
    for step in document["steps"]:
        name, dropped = step["step"], step["before"] - step["after"]
        right = sum(n for (kind, by), n in went.items() if by == name and name in _fit(kind))
        print(f"{name:22} {step['before']:9,} {dropped:14,} {right:15,} {right / dropped if dropped else 1:10.4f}")
        held &= not dropped or right / dropped >= AIMS.get(name, 0.99) or name == "nearest"
    return held


def _fit(kind: str) -> set[str]:
    """Steps that are right to drop what was planted so."""
    if kind.startswith("test"):
        return {"nearest", "held_out", "overlap"}
    return {"prefix", "minhash"} if kind in ("equal", "prefix", "near") else {STEP_OF.get(kind, "")}


def libraries(seed: int) -> None:
    """Signatures of rensa and of datasketch: microseconds a set, and the error of estimates."""
    from datasketch import MinHash
    from rensa import RMinHash

    rng = random.Random(seed)
    print(f"{'n-grams':>8} {'library':>12} {'µs a set':>9} {'bias':>9} {'rmse':>8} {'binomial':>9}")
    for size in (8, 20, 60, 400):
        true, sets = [], []
        for _ in range(1500):
            common = round(2 * size * (share := rng.choice((0.5, 0.6, 0.7, 0.8, 0.9))) / (1 + share))
            both = [str(rng.random()) for _ in range(common)]
            sets += [both + [str(rng.random()) for _ in range(size - common)] for _ in range(2)]
            true.append(common / (2 * size - common))
        ideal = np.sqrt(np.mean([share * (1 - share) / 128 for share in true]))
        for name in ("rensa", "datasketch"):
            started = time.process_time()
            if name == "rensa":
                found = np.array(RMinHash.digest_matrix_from_token_sets(sets, 128, 1).to_rows())
            else:
                encoded = ([word.encode() for word in one] for one in sets)
                found = np.array([one.hashvalues for one in MinHash.generator(encoded, num_perm=128)])
            each = (time.process_time() - started) / len(sets) * 1e6
            error = (found[::2] == found[1::2]).mean(axis=1) - true
            rmse = np.sqrt((error**2).mean())
            print(f"{size:8} {name:>12} {each:9.1f} {error.mean():9.4f} {rmse:8.4f} {ideal:9.4f}")


def main() -> None:
    """Read the arguments, run, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--tests", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dir", type=Path)
    parser.add_argument("--libraries", action="store_true")
    arguments = parser.parse_args()
    if arguments.libraries:
        libraries(arguments.seed)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.dir or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "filter.py").write_text(FILTER)
        rng = random.Random(arguments.seed)
        tests = [sentence(rng) for _ in range(arguments.tests)]
        write_jsonl(folder / "tests.jsonl", ({"instruction": " ".join(words)} for words in tests))
        planted: Counter[str] = Counter()

        def counted() -> Iterator[dict[str, Any]]:
            for row in pool(rng, arguments.rows, tests):
                planted[row["planted"]] += 1
                yield row

        rows = write_jsonl(folder / "pool.jsonl", counted())
        size = os.path.getsize(folder / "pool.jsonl") / 2**20
        document, cpu, wall, memory = run(folder, folder / "filter.py")
        held = judged(folder, document, planted)
        print(
            f"\n{rows:,} rows, {size:,.0f} MiB: {cpu / 60:.1f} CPU min, {wall / 60:.1f} min, {memory:,.0f} MiB at most"
        )
        sys.exit(0 if held and memory <= 4096 else 1)


if __name__ == "__main__":
    main()
