"""Texts as vectors: what clusters prompts, and what finds those that are alike.

Built in, and without any download, are words weighted by how rare they are (TF-IDF), taken to fewer dimensions by a
truncated SVD (latent semantic analysis, Deerwester et al. 1990). A folder of sentence-transformers works as well, and
so does whatever else turns texts into vectors: `arenaloop.specs` makes one of a server's SPEC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arenaloop.errors import ConfigError, InputError, MissingExtraError

__all__ = [
    "BUILT_IN",
    "DIMENSIONS",
    "Embedder",
    "Vectors",
    "check_local",
    "embed",
    "encodable",
    "one_thread",
    "unit_rows",
]

Vectors: TypeAlias = NDArray[np.float32]
"""(n, d), each row of unit length; a text that nothing is known of has a row of zeros."""

Embedder = Callable[[Sequence[str]], NDArray[Any]]
"""Texts to vectors, a row for each text in its order; rows of one call are comparable."""

BUILT_IN = "tfidf"
DIMENSIONS = 128
"""Of the built-in vectors, at most."""

_BUCKETS = 1 << 17  # that words are hashed into
_WORDS = r"\w+|[^\w\s]"
_FITTED = 50_000  # rows that the dimensions are found on; all are projected onto them
_BLOCK = 20_000  # rows that are projected at once


def embed(
    texts: Sequence[str], spec: str | Embedder = BUILT_IN, *, dimensions: int = DIMENSIONS, seed: int = 0
) -> Vectors:
    """Vectors of texts, for cosine similarity by a dot product; a pure function of its arguments.

    Only rows of one call are comparable: what is to be compared is embedded together.

    Args:
        texts: any number.
        spec: ``tfidf``; ``st:PATH`` or ``st:NAME``, a sentence-transformers model; or a function that embeds.
        dimensions: of ``tfidf``, at most.
        seed: of ``tfidf``.

    Returns:
        float32, (len(texts), d).

    Raises:
        ConfigError: an unknown spec. InputError: no such model. MissingExtraError: its library is not installed.
    """
    if not texts:
        return np.zeros((0, 1), np.float32)
    texts = [encodable(text) for text in texts]
    if callable(spec):
        vectors = spec(texts)
    else:
        check_local(spec)
        if spec == BUILT_IN:
            with one_thread():
                vectors = _tfidf_svd(texts, dimensions, seed)
        else:
            vectors = _sentence_transformer(spec[3:], texts)
    return unit_rows(vectors)


def check_local(spec: str) -> None:
    """Refuse what `embed` cannot do with a spec, before anything is paid; no weights are loaded.

    Raises:
        ConfigError, InputError, MissingExtraError: as of `embed`.
    """
    name = spec.removeprefix("st:")
    if spec != BUILT_IN and (name == spec or not name):
        raise ConfigError(f"embeddings {spec!r}: expected {BUILT_IN}, st:PATH, or a server's URL#MODEL or openai:MODEL")
    library, extra = ("sklearn", "data") if spec == BUILT_IN else ("sentence_transformers", "embed")
    if find_spec(library) is None:
        raise MissingExtraError(f"embeddings {spec}", extra)
    if spec != BUILT_IN and name.startswith((".", "/", "~")):
        folder = Path(name).expanduser()
        if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
            raise InputError(f"embeddings {spec}: {'no model in it' if folder.is_dir() else 'no such folder'}")


def encodable(text: str) -> str:
    """A text that libraries take, too: a lone surrogate, which UTF-8 cannot hold, becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra on one thread: sums in one order whatever the machine, so that a seed gives the same numbers.

    Nothing is lost: threads that wait for each other on a busy machine were measured to take seven times the CPU.
    """
    from threadpoolctl import threadpool_limits  # scikit-learn brings it

    with threadpool_limits(1):
        yield


def unit_rows(vectors: NDArray[Any]) -> Vectors:
    """Rows scaled to length 1 (L2); rows of zeros stay."""
    vectors = np.asarray(vectors, np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return unit


def _tfidf_svd(texts: Sequence[str], dimensions: int, seed: int) -> Vectors:
    """TF-IDF of words, by ``(1 + ln tf) (1 + ln((1 + n) / (1 + df)))``, onto its singular vectors.

    These are found on a seeded sample of `_FITTED` rows: a share of a large pool shows the directions of all of it.
    """
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.utils.extmath import randomized_svd

    words = HashingVectorizer(
        n_features=_BUCKETS, token_pattern=_WORDS, norm=None, alternate_sign=False, dtype=np.float32
    )
    counts = words.transform(texts)
    used = np.flatnonzero(np.bincount(counts.indices))
    if not len(used):
        return np.zeros((len(texts), 1), np.float32)
    counts = counts[:, used]
    weighted = TfidfTransformer(sublinear_tf=True).fit(counts).transform(counts, copy=False)
    drawn = np.random.default_rng([seed, len(texts)])
    fitted = weighted
    if len(texts) > _FITTED:
        fitted = weighted[np.sort(drawn.choice(len(texts), _FITTED, replace=False))]
    most = min(dimensions, *fitted.shape)
    _, _, directions = randomized_svd(fitted, most, n_iter=4, random_state=seed % 2**32)
    projection = np.ascontiguousarray(directions.T, np.float32)
    vectors = np.empty((len(texts), projection.shape[1]), np.float32)
    for start in range(0, len(texts), _BLOCK):
        vectors[start : start + _BLOCK] = weighted[start : start + _BLOCK] @ projection
    return vectors


def _sentence_transformer(name: str, texts: Sequence[str]) -> NDArray[Any]:
    """By a model of a folder or a name; its weights are safetensors, and its code is not run."""
    from sentence_transformers import SentenceTransformer

    from arenaloop.models.checkpoint import no_progress_bars

    try:
        with no_progress_bars():
            model = SentenceTransformer(
                str(Path(name).expanduser()), trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )
    except (OSError, ValueError) as error:
        raise InputError(f"embeddings st:{name}: {next(iter(str(error).splitlines()), 'cannot be loaded')}") from None
    found: NDArray[Any] = model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
    return found
