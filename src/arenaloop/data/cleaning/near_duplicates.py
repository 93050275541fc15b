"""Near-duplicates by MinHash and locality-sensitive hashing (Broder 1997; Indyk and Motwani 1998).

Rows are sets of their n-grams of words. Of each a signature is made, whose slots agree with another's as often as the
two sets' Jaccard similarity; signatures are cut into bands, and only rows that share a band are compared: by their
slots first, then by the sets themselves, so that no row goes for an estimate. Signatures are rensa's; bands are sorted
here, where they take no memory for the rows that share none, which in a pool are most.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arenaloop.data.cleaning.rows import Drop, Dropping, Row, Rows, Spool
from arenaloop.errors import MissingExtraError

__all__ = ["bands_of", "near_duplicates", "ngrams"]

_Signatures: TypeAlias = NDArray[np.uint32]

_BLOCK = 2_000  # rows whose signatures are made at once
_COMPARED = 200  # rows of one band that a row is compared with: a phrase that thousands have makes none a duplicate
_ODD = np.uint64(0x9E3779B97F4A7C15)
_ERRORS = 4.0  # standard errors of an estimate under the threshold, below which sets are not compared


def near_duplicates(rows: Rows, drop: Dropping, ngram: int, perms: int, jaccard: float, seed: int = 1) -> Iterator[Row]:
    """Of rows that share at least `jaccard` of their n-grams keep the first.

    No two rows that stay are known to be near-duplicates: each is compared with those before it that stay. A row of
    fewer than `ngram` words is one n-gram.

    Raises:
        MissingExtraError: rensa is not installed.
    """
    with Spool() as spool, tempfile.TemporaryFile() as file:
        rest = iter(rows)
        while block := list(islice(rest, _BLOCK)):
            _signatures([sorted(ngrams(row.words, ngram)) for row in block], perms, seed).tofile(file)
            for row in block:
                spool.add(row)
        if not len(spool):
            return
        file.flush()
        signatures = np.memmap(file, np.uint32, "r").reshape(-1, perms)
        buckets = _buckets(signatures, perms // bands_of(perms, jaccard))
        kept: dict[tuple[int, int], list[int]] = {}
        slack = _ERRORS * (jaccard * (1 - jaccard) / perms) ** 0.5
        for number, row in enumerate(spool):
            own = [(band, bucket) for band, bucket in enumerate(buckets[:, number].tolist()) if bucket >= 0]
            before = sorted({other for key in own for other in kept.get(key, ())})
            if before:
                agree = (signatures[before] == signatures[number]).mean(axis=1)
                likely = [other for other, share in zip(before, agree, strict=True) if share >= jaccard - slack]
                if (found := _first_like(row, spool, likely, ngram, jaccard)) is not None:
                    partner, similarity = found
                    drop(Drop(row, "minhash", f"shares n-grams of {ngram} words", partner, similarity))
                    continue
            for key in own:
                if len(there := kept.setdefault(key, [])) < _COMPARED:
                    there.append(number)
            yield row


def _first_like(row: Row, spool: Spool, others: Sequence[int], ngram: int, jaccard: float) -> tuple[int, float] | None:
    """The line of the first of `others` that is a near-duplicate, and how much of their n-grams the two share."""
    own = ngrams(row.words, ngram) if others else set()
    for number in others:
        other = spool[number]
        theirs = ngrams(other.words, ngram)
        common = len(own & theirs)
        if (similarity := common / (len(own) + len(theirs) - common)) >= jaccard:
            return other.line, similarity
    return None


def ngrams(words: Sequence[str], n: int) -> set[str]:
    """The runs of `n` words, or all of them where they are fewer."""
    return {" ".join(words[at : at + n]) for at in range(max(1, len(words) - n + 1))}


def bands_of(perms: int, jaccard: float) -> int:
    """Into how many bands a signature is cut: the fewest of which 99 % of pairs at the threshold share one.

    A pair shares a band of r slots with probability ``jaccard ** r``.
    """
    for slots in range(perms, 0, -1):
        if perms % slots == 0 and 1 - (1 - jaccard**slots) ** (perms // slots) >= 0.99:
            return perms // slots
    return perms


def _signatures(sets: Sequence[Sequence[str]], perms: int, seed: int) -> _Signatures:
    try:
        from rensa import RMinHash
    except ImportError:
        raise MissingExtraError("near-duplicates by MinHash", "data") from None
    matrix: Any = RMinHash.digest_matrix_from_token_sets(sets, perms, seed)
    return np.array(matrix.to_rows(), np.uint32)


def _buckets(signatures: _Signatures, slots: int) -> NDArray[np.int32]:
    """(bands, rows): the number of the rows that share a row's band; -1 where it shares it with none."""
    rows, perms = signatures.shape
    found = np.full((perms // slots, rows), -1, np.int32)
    for band, own in enumerate(found):
        keys = np.zeros(rows, np.uint64)  # of equal slots equal; those of others may be, as they are compared besides
        for slot in range(band * slots, (band + 1) * slots):
            keys = keys * _ODD + signatures[:, slot]
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        shared = counts[inverse] > 1
        own[shared] = inverse[shared]
    return found
