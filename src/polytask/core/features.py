"""What encoders produce and heads consume.

Shape suffixes used everywhere: B rows, L tokens, W words, D dimensions, T tasks, P shared
parameters, C classes, N examples of a data set; a lower-case letter is a subset of its capital.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Features:
    """The encoding of B rows: a text, an image or a table row is a sequence of tokens.

    :param tokens_BLD: One vector per token.
    :param mask_BL: True where a token is real, False where it is padding.
    :param words_BW: Index of the first token of each word, -1 where there is no such word.
        None for encoders without words.
    :param texts: Number of texts of a row, P: its tokens are P stretches of L / P, one of each.
    :param places_BL2: Where in its text a token starts and ends, in characters, -1 for tokens of
        other columns and special ones. None unless it was asked for.
    """

    tokens_BLD: Tensor
    mask_BL: Tensor
    words_BW: Tensor | None = None
    texts: int = 1
    places_BL2: Tensor | None = None

    def select(self, rows_b: Tensor) -> Features:
        """The features of some rows; those of all rows are not copied.

        :param rows_b: The rows, ascending, none twice: as many as there are must be all of them.
        """
        if rows_b.shape[0] == self.mask_BL.shape[0]:
            return self
        return Features(
            self.tokens_BLD[rows_b],
            self.mask_BL[rows_b],
            None if self.words_BW is None else self.words_BW[rows_b],
            self.texts,
            None if self.places_BL2 is None else self.places_BL2[rows_b],
        )

    @property
    def apart(self) -> Features:
        """The texts of all rows as B × P rows of their own, without words."""
        return Features(
            self.tokens_BLD.unflatten(1, (self.texts, -1)).flatten(0, 1),
            self.mask_BL.unflatten(1, (self.texts, -1)).flatten(0, 1),
        )

    @property
    def there_BP(self) -> Tensor:
        """Which texts a row has."""
        there_BP: Tensor = self.mask_BL.unflatten(1, (self.texts, -1)).any(-1)
        return there_BP

    @property
    def mean_BD(self) -> Tensor:
        """The mean of the real tokens of each row."""
        mask_BL1 = self.mask_BL.unsqueeze(-1).to(self.tokens_BLD.dtype)
        return (self.tokens_BLD * mask_BL1).sum(1) / mask_BL1.sum(1).clamp(min=1)

    @property
    def first_BD(self) -> Tensor:
        """The first token of each row."""
        return self.tokens_BLD[:, 0]
