"""Which stored verdicts are this run's: an arena file keeps what earlier settings asked, and what other judges said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from arenaloop.store import Store
from arenaloop.store.counts import last_judges, verdicts_of_others
from arenaloop.types import Verdict

__all__ = ["Scope", "template_labels", "verdict_scope"]


class Scope(NamedTuple):
    """The judges whose verdicts count here, by the fingerprints of what was asked.

    Attributes:
        hashes: fingerprints; none means that the rows do not tell (they are of an older version), and all count.
        others: stored verdicts of other judges or settings.
    """

    hashes: tuple[str, ...]
    others: int = 0


def verdict_scope(store: Store, verdicts: Iterable[Verdict]) -> Scope:
    """The judges behind some of a run's verdicts; without any, those that the last invocation with one asked."""
    hashes = {v.judge_hash for v in verdicts}
    if not hashes:
        hashes = last_judges(store)
    if "" in hashes or not hashes:  # rows of the first version
        return Scope(())
    chosen = tuple(sorted(hashes))
    return Scope(chosen, verdicts_of_others(store, chosen))


def template_labels(config: Mapping[str, Any]) -> dict[str, str]:
    """Names of templates by their hashes: the shipped ones. `config` adds the run's own where it tells criteria."""
    from arenaloop.errors import ArenaloopError
    from arenaloop.judges.templates import load_template, template_names

    labels = {load_template(name).hash: name for name in template_names()}
    judge = config.get("judge")
    settings = [judge, *(judge.get("jury") or ())] if isinstance(judge, dict) else []
    for one in settings:
        if not isinstance(one, dict):
            continue
        name, criteria = one.get("template"), one.get("criteria") or ()
        if isinstance(name, str) and isinstance(criteria, list | tuple):
            try:
                template = load_template(name, tuple(map(str, criteria)))
            except (ArenaloopError, ValueError, TypeError):  # the file may be gone; the hash is shown instead
                continue
            labels.setdefault(template.hash, f"{template.name}, own criteria" if criteria else template.name)
    return labels
