"""GPT-4's recorded labels against people, against each other, and beside judges that need no model.

    python experiments/judge_audit.py --data FOLDER [--out DIR]

FOLDER holds `farm_crossannotations_gpt4.jsonl.gz` (AlpacaFarm pairs labelled by two GPT-4 prompt versions with four
seeds each: instruction, input, output_1, output_2, annotator, seed, preference, price_per_example, time_per_example)
and `farm_human_labels.jsonl.gz` (pairs with one human label each, `gold_preference`). Audited are all pairs of both
files; what compares with people rests on those that both hold, everything else on all that were labelled.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from arenaloop.audit.plan import AuditPlan, ask, ingest
from arenaloop.audit.read import Audit, read
from arenaloop.cli.audit_tables import audit_document, audit_tables
from arenaloop.config import JudgeSettings
from arenaloop.data.formats.labels import LabelledPair, labelled_pairs, read_labels
from arenaloop.judges.base import Judge
from arenaloop.judges.jury import Jury
from arenaloop.ratings.rates import Rate
from arenaloop.specs import judge
from arenaloop.store import Store

RECORDED = "farm_crossannotations_gpt4.jsonl.gz"
HUMAN = "farm_human_labels.jsonl.gz"
BASELINES = ("builtin:longest", "builtin:shortest", "builtin:random", "builtin:first")


def pairs_of(folder: Path) -> list[LabelledPair]:
    """The pairs with human labels, and after them those that were only labelled by GPT-4, without labels."""
    human = labelled_pairs(read_labels(folder / HUMAN))
    known = {(pair.prompt.id, *pair.outputs) for pair in human}
    rest = labelled_pairs(read_labels(folder / RECORDED))
    return human + [
        LabelledPair(pair.prompt, pair.outputs, pair.generators)
        for pair in rest
        if (pair.prompt.id, *pair.outputs) not in known and (pair.prompt.id, *pair.outputs[::-1]) not in known
    ]


def intervals(found: Audit, names: list[str]) -> Table:
    """Each metric of some judges with its interval and the number of pairs behind it."""
    rows = {row.name: row.evaluation for row in found.rows}
    table = Table("with intervals (pairs)", *names, box=None, pad_edge=False)
    for field in ("agreement", "bias", "variance", "kappa", "first_output", "longer", "longer_matched", "lists"):
        cells = []
        for name in names:
            rate: Rate = getattr(rows[name], field)
            digits = 1 if field in ("agreement", "bias", "variance") else 2
            if rate.value is None or rate.lower is None or rate.upper is None:
                cells.append("–")
                continue
            text = f"{rate.value:.{digits}f}  {rate.lower:.{digits}f}…{rate.upper:.{digits}f} ({rate.n})"
            cells.append(text)
        table.add_row(field, *cells)
    return table


def main(folder: Path, out: Path | None) -> None:
    """Print the tables, and write them as JSON into `out`."""
    versions = sorted({label.annotator for label in read_labels(folder / RECORDED)})
    specs = [f"labels:{folder / RECORDED}#annotator={version}" for version in versions] + list(BASELINES)
    judges: list[Judge] = []
    for spec in specs:
        built = judge(JudgeSettings(spec=spec))
        assert not isinstance(built, Jury)
        judges.append(built)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as scratch, Store(Path(scratch) / "arena.db") as store:
        plan = AuditPlan(pairs_of(folder), judges, votes=4)
        ingest(plan, store)
        ask(plan, store)
        found = read(plan, store)
    seconds = time.process_time() - start
    console = Console(width=80)
    for table in audit_tables(found):
        console.print(table)
        console.print()
    Console(width=124).print(intervals(found, [*versions, "longest", "random"]))
    for note in found.notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False)
    labelled = found.humans.pairs
    print(f"{found.pairs} pairs of {found.prompts} prompts, {labelled} with a human label: {seconds:.1f} CPU seconds")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "judge_audit.json").write_text(json.dumps(audit_document(found, HUMAN, 0.95), indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    main(arguments.data, arguments.out)
