"""Who beat whom, and by how much: which models can be compared, and which are hardly, or not at all, bound together.

Where one group of models won every battle against another, the likelihood has no maximum (Ford 1957; Hunter 2004,
assumption 1). A single upset of next to no weight gives it one, as far off as the weight is small: no figure may hang
on whether such a weight is 0. So what binds i to j is measured, not asked: the least mass of upsets that crosses any
cut between them, in whole battles, which is the maximal flow from i to j along wins (Ford & Fulkerson 1956). Less than
one whole upset leaves an end open; less than half is filled up to half (`pseudo_wins`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray

__all__ = ["WHOLE", "components", "crossings", "listed", "pseudo_wins", "separated_models", "walks"]

WHOLE = 1.0 - 1e-9
"""Battles that count as a whole one: sums of thirds come out a little short."""
_HALF = 0.5
"""Pseudo-wins that each side of a divide has, and upsets that need no pseudo-win."""
_EVERY_PAIR = 30
"""Groups up to which the flow of every pair is found; of more, that of pairs that met, and the best way between."""


def components(wins: FloatArray) -> tuple[IntArray, IntArray]:
    """Which models can be compared at all, and which have a finite maximum-likelihood difference.

    Args:
        wins: win weights, shape (K, K).

    Returns:
        Two arrays of shape (K,): numbers of the connected components of "met", and of the strongly connected
        components of "beat" (Hunter 2004, assumption 1: the maximum exists within one of the latter).
    """
    beat = wins > 0
    return _closure_labels(beat | beat.T), _closure_labels(beat)


def crossings(wins: FloatArray, unit: FloatArray, most: float = 1.0) -> FloatArray:
    """Whole battles that the row won over the column across the narrowest cut between them, shape (K, K).

    Args:
        wins: win weights, shape (K, K).
        unit: weight of a whole battle of each model, shape (K,); a pair's is the greater of its two.
        most: what is more counts as this much; the diagonal does.
    """
    capacity = wins / np.maximum(unit[:, None], unit[None, :])
    label = np.arange(len(wins))
    while True:
        joined = _closure_labels(capacity >= most * WHOLE)
        names, place = np.unique(joined, return_inverse=True)
        label = place[label]
        if len(names) == len(capacity):
            break
        # no cut below `most` divides what is joined: the rest sees it as one
        member = (place[:, None] == np.arange(len(names))[None, :]).astype(np.float64)
        capacity = member.T @ capacity @ member
        np.fill_diagonal(capacity, 0.0)
    size = len(capacity)
    flow = np.where(np.eye(size, dtype=bool), most, 0.0)
    reach = walks(capacity > 0)
    firm = walks(capacity >= most * WHOLE)
    met = (capacity > 0) | (capacity.T > 0)
    for s, t in np.argwhere(reach & ~np.eye(size, dtype=bool)).tolist():
        if firm[s, t]:
            flow[s, t] = most
        elif size <= _EVERY_PAIR or met[s, t]:
            flow[s, t] = _flow(capacity, s, t, most)
    if size > _EVERY_PAIR:
        for k in range(size):  # what gets from s to k and from k to t gets from s to t
            np.maximum(flow, np.minimum(flow[:, k, None], flow[None, k, :]), out=flow)
    flow = np.where(flow >= most * WHOLE, most, flow)
    return np.asarray(flow[np.ix_(label, label)])


def _flow(capacity: FloatArray, source: int, sink: int, most: float) -> float:
    """The maximal flow between two nodes, as far as `most`: by shortest augmenting paths (Edmonds & Karp 1972)."""
    left = capacity.copy()
    total = 0.0
    while total < most * WHOLE:
        before = np.full(len(left), -1)
        before[source] = source
        front = [source]
        while front and before[sink] < 0:
            node = front.pop(0)
            for new in np.flatnonzero((left[node] > 1e-15) & (before < 0)).tolist():
                before[new] = node
                front.append(new)
        if before[sink] < 0:
            break
        path = [sink]
        while path[-1] != source:
            path.append(int(before[path[-1]]))
        ends, starts = np.array(path[:-1]), np.array(path[1:])
        more = min(float(left[starts, ends].min()), most - total)
        left[starts, ends] -= more
        left[ends, starts] += more
        total += more
    return total


def pseudo_wins(wins: FloatArray, unit: FloatArray, crossed: FloatArray) -> FloatArray:
    """Pseudo-wins across divides that less than half an upset crossed, shape (K, K), symmetric.

    In proportion to the battles that crossed, and no model has more than half a whole one each way: a fixed mass,
    whatever the number of opponents, puts an unbeaten model of n wins at ln(2 n + 1) above equals, as Firth's penalty
    does (Firth 1993). Half a pseudo-win against each opponent would be a prior that grows with their number. What
    upsets there were is taken off, so that half of one needs none.

    Args:
        wins, unit: see `crossings`. crossed: what it returns.
    """
    whole = np.maximum(unit[:, None], unit[None, :])
    lack = 1.0 - np.minimum(crossed, crossed.T) / _HALF
    met = np.where(lack > 0, (wins + wins.T) / whole, 0.0)
    own = met.sum(axis=1)
    share = _HALF * met / np.maximum(np.maximum(own[:, None], own[None, :]), 1e-300)
    return np.asarray(whole * np.maximum(lack, 0.0) * share)


def walks(beat: BoolArray) -> BoolArray:
    """Who reaches whom by steps of "beat", each model itself, shape (K, K): walks double with every product."""
    reach = beat | np.eye(len(beat), dtype=bool)
    while True:
        longer = reach.astype(np.float32) @ reach.astype(np.float32) > 0
        if (longer == reach).all():
            return np.asarray(reach)
        reach = longer


def separated_models(
    wins: FloatArray, unit: FloatArray, crossed: FloatArray, piece: IntArray, names: Sequence[str]
) -> str:
    """In words, which models of a connected piece won or lost (nearly) everything, or which groups stand apart."""
    group = _closure_labels(np.minimum(crossed, crossed.T) >= _HALF)
    apart = group[:, None] != group[None, :]
    won, lost = (np.where(apart, each, 0.0).sum(axis=1) / unit for each in (wins, wins.T))
    whole: list[str] = []
    for i in piece.tolist():
        rarer = min(won[i], lost[i])
        if np.count_nonzero(group == group[i]) == 1 and won[i] != lost[i] and rarer < _HALF:
            but = f" but {rarer:.2g} of one" if rarer > 0 else ""
            whole.append(f"{names[i]} {'won' if won[i] > lost[i] else 'lost'} every battle{but}")
    if len(whole) > 8:
        return ", ".join(whole[:8]) + f" and {len(whole) - 8} more like them"
    if whole:
        return ", ".join(whole)
    parts = [np.flatnonzero(group == g) for g in dict.fromkeys(group[piece].tolist())]
    some = (np.where(apart, np.minimum(crossed, crossed.T), 0.0) > 0).any()
    upset = "less than half an upset" if some else "no upset"
    return f"{upset} ever crossed between " + " | ".join(listed([names[i] for i in part.tolist()]) for part in parts)


def listed(names: Sequence[str]) -> str:
    """Up to eight names, and how many more there are."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _closure_labels(edges: BoolArray) -> IntArray:
    """Labels of the classes of mutually reachable nodes, shape (K,)."""
    size = len(edges)
    labels = np.full(size, -1)
    for node in range(size):
        if labels[node] < 0:
            both = _reachable(edges, node) & _reachable(edges.T, node)
            labels[both] = node
    return labels


def _reachable(edges: BoolArray, start: int) -> BoolArray:
    """Nodes reachable from `start` (itself included), shape (K,), by breadth-first search."""
    seen = np.zeros(len(edges), dtype=bool)
    seen[start] = True
    front = np.array([start])
    while front.size:
        new = edges[front].any(axis=0) & ~seen
        seen |= new
        front = np.flatnonzero(new)
    return seen
