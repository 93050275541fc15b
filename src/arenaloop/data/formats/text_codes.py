"""Codes of texts that come in column by column: the same code for the same text, whichever part it stands in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arenaloop.ratings.arrays import IntArray

if TYPE_CHECKING:
    import polars as pl

__all__ = ["TextCodes"]


class TextCodes:
    """Attributes: texts: those that came, by code."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._known: pl.Enum | None = None

    def of(self, column: pl.Series) -> IntArray:
        """Codes of a column of texts, shape (n,); -1 where it is null."""
        import polars as pl

        if self._known is None:
            self._learn(column)
        coded = column.cast(self._known, strict=False)
        if coded.null_count() > column.null_count():
            self._learn(column.filter(coded.is_null()))
            coded = column.cast(self._known, strict=False)
        codes = coded.to_physical().cast(pl.Int32)
        return codes.fill_null(-1).to_numpy() if codes.null_count() else codes.to_numpy()

    def _learn(self, column: pl.Series) -> None:
        import polars as pl

        new = column.drop_nulls().unique(maintain_order=True)
        self.texts += new.to_list()
        self._known = pl.Enum(self.texts)
