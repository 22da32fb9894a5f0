"""Edit scripts: how a word becomes its lemma, written so that one script fits many words.

Chrupała, Dinu and van Genabith, "Learning Morphology with Morfette", LREC 2008, where lemmas are
classes of edits; the edits follow Straka, "UDPipe 2.0 Prototype", CoNLL 2018, section
3.4, with one change: letters stay as cased as they are in the word ("kept") instead of by position,
so that lower-cased encoders need not know how a name was written.
https://aclanthology.org/L08-1209 https://doi.org/10.18653/v1/K18-2020
"""

from __future__ import annotations

import json
from collections.abc import Callable
from difflib import SequenceMatcher
from functools import lru_cache

_MOST_PAIRS = 10**6
"""Most pairs of letters of a word and its lemma that are compared: more take minutes."""


@lru_cache(maxsize=65536)
def script(word: str, lemma: str) -> str:
    """Return the edit script that makes a lemma of a word, as text.

    The longest common part of both stays, letters before and after it are replaced, and then the
    case is changed; where nothing is common, the script is the lemma itself. The first way of
    casing that gives the lemma is taken.
    """
    for casing in _CASINGS:
        found = _ends(word, lemma, casing)
        if found is not None:
            return found
    return json.dumps([lemma], ensure_ascii=False)


@lru_cache(maxsize=65536)
def apply(edit: str, word: str) -> str:
    """Apply a script to a word. A script that cuts more letters than the word has leaves none of them."""
    parts = json.loads(edit)
    if len(parts) == 1:
        return str(parts[0])
    casing, cut_front, front, cut_back, back = parts
    return _CASINGS[casing](front + word[cut_front : max(cut_front, len(word) - cut_back)] + back)


def _ends(word: str, lemma: str, casing: str) -> str | None:
    """Return the script with a way of casing, or None where that does not give the lemma."""
    lower, wanted = word.lower(), lemma.lower()
    if len(word) * len(lemma) > _MOST_PAIRS:
        return None
    if len(lower) != len(word) or len(wanted) != len(lemma):
        return None  # positions differ where the lower case of a letter is longer
    match = SequenceMatcher(None, lower, wanted, autojunk=False).find_longest_match()
    if not match.size:
        return None
    front, back = lemma[: match.b], lemma[match.b + match.size :]
    cut_back = len(word) - match.a - match.size
    edit = json.dumps([casing, match.a, front, cut_back, back], ensure_ascii=False)
    return edit if apply(edit, word) == lemma else None


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:].lower()


_CASINGS: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "kept": str,
    "first": _first_upper,
    "upper": str.upper,
}
"""Ways of casing a lemma, the one that is tried first in front."""
