"""Groups of similar texts: k-means over their vectors, and where the groups lie on a map."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arenaloop.data.embeddings import Vectors, one_thread
from arenaloop.errors import ConfigError, MissingExtraError

__all__ = ["Clusters", "k_means", "require_clustering"]

_BATCH = 8192
_STARTS = 3  # seedings of the centres, of which the best is taken
_BLOCK = 20_000  # rows whose distances are taken at once


class Clusters(NamedTuple):
    """Which cluster each row belongs to.

    Attributes:
        labels: (n,), from 0 to k − 1.
        nearest: (k, at most 3), the rows nearest to each centre, the nearest first; −1 where there are fewer.
        places: (k, 2), where the centres lie on a map on which similar ones lie together.
    """

    labels: NDArray[np.int32]
    nearest: NDArray[np.int32]
    places: NDArray[np.float32]


def require_clustering() -> None:
    """Raise MissingExtraError where what clusters is not installed."""
    try:
        import sklearn.cluster  # noqa: F401 - whether it is there
    except ImportError:
        raise MissingExtraError("clusters of prompts", "data") from None


def k_means(vectors: Vectors, k: int, seed: int = 0) -> Clusters:
    """Clusters of rows by mini-batch k-means (Sculley 2010); the same rows and seed give the same clusters.

    On one thread, as the built-in embeddings (`one_thread`).

    Raises:
        ConfigError: fewer different rows than clusters.
    """
    require_clustering()
    from sklearn.cluster import MiniBatchKMeans

    different = _different(vectors, k)
    if different < k:
        raise ConfigError(
            f"{len(vectors):,} prompts, of which {different:,} differ by their embeddings, cannot make {k:,} clusters: "
            f"take at most {different:,} (--clusters)"
        )
    with one_thread():
        means = MiniBatchKMeans(k, batch_size=_BATCH, n_init=_STARTS, random_state=seed % 2**32)
        labels = means.fit(vectors).labels_.astype(np.int32)
        centres = np.asarray(means.cluster_centers_, np.float32)
        return Clusters(labels, _nearest(vectors, labels, centres), _places(centres, seed))


def _different(vectors: Vectors, enough: int) -> int:
    """How many different rows there are; counted no further than `enough`."""
    seen: set[bytes] = set()
    for row in np.round(vectors, 5) + np.float32(0):  # no negative zero
        seen.add(row.tobytes())
        if len(seen) == enough:
            break
    return len(seen)


def _nearest(vectors: Vectors, labels: NDArray[np.int32], centres: NDArray[np.float32]) -> NDArray[np.int32]:
    far = np.empty(len(vectors), np.float32)
    for at in range(0, len(vectors), _BLOCK):
        block = slice(at, at + _BLOCK)
        far[block] = np.square(vectors[block] - centres[labels[block]]).sum(axis=1)
    order = np.lexsort((far, labels))
    starts = np.searchsorted(labels[order], np.arange(len(centres) + 1))
    nearest = np.full((len(centres), 3), -1, np.int32)
    for one, (start, end) in enumerate(pairwise(starts)):
        some = order[start : min(end, start + 3)]
        nearest[one, : len(some)] = some
    return nearest


def _places(centres: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """A map of centres by t-SNE (van der Maaten & Hinton 2008); of a few by their principal components."""
    if len(centres) < 10:
        left, values, _ = np.linalg.svd(centres - centres.mean(axis=0), full_matrices=False)
        flat: NDArray[Any] = (left * values)[:, :2]
        return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1]))).astype(np.float32)
    from sklearn.manifold import TSNE

    map_of = TSNE(perplexity=min(30.0, (len(centres) - 1) / 3), init="random", random_state=seed % 2**32, n_jobs=1)
    places: NDArray[np.float32] = map_of.fit_transform(centres).astype(np.float32)
    return places
