"""Words of texts in any script, for metrics that compare words."""

from __future__ import annotations

import re
import unicodedata

_UNSPACED = re.compile(
    "[\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # Japanese syllables
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"  # Chinese characters
)
"""Characters of scripts that put no spaces between words."""

_HAN = re.compile("[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def compose(text: str) -> str:
    """Return a text in Unicode's composed form, in which equal letters are equal characters."""
    return unicodedata.normalize("NFC", text)


def words_of(text: str) -> list[str]:
    """Return runs of letters and digits in lower case; without spaces, every character is a word.

    Marks belong to the letter before them. For ASCII text, the words are the matches of
    ``[a-z0-9]+``.
    """
    words: list[str] = []
    open_word = False  # whether the next letter continues the last word
    for sign in compose(text.lower()):
        kind = unicodedata.category(sign)[0]
        if kind == "M" and words:
            words[-1] += sign if open_word or _UNSPACED.match(words[-1]) else ""
        elif kind not in "LN":
            open_word = False
        elif _UNSPACED.match(sign):
            words.append(sign)
            open_word = False
        elif open_word:
            words[-1] += sign
        else:
            words.append(sign)
            open_word = True
    return words


def is_unspaced(text: str) -> bool:
    """Return whether most letters of a text are of scripts that put no spaces between words."""
    letters = [sign for sign in text if sign.isalpha()]
    return 2 * sum(map(bool, map(_UNSPACED.match, letters))) > len(letters)


def is_chinese(text: str) -> bool:
    """Return whether all unspaced letters of a text are Chinese characters."""
    found: list[str] = _UNSPACED.findall(text)
    return bool(found) and all(map(_HAN.match, found))
