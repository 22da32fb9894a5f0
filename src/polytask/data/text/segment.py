"""Segmentation of texts into words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split
from typing_extensions import override

from polytask.core.optional import require
from polytask.data.text.base import Text, TextStep, text_steps

_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_RUNS = re.compile(f"[{_HAN}]+|[^{_HAN}]+")
_RULE = Split(
    Regex(
        r"https?://[!-~]*[A-Za-z0-9/]"  # an address
        r"|[@#]\w+"  # a mention or a hash tag
        r"|\d+(?:[.,:]\d+)+"  # 3.14  1,000  10:30
        r"|\w+(?:['’-]\w+)*"  # well-known, isn't
        r"|([^\w\s])\1*"  # punctuation; a run of the same mark is one word
    ),
    "removed",
    invert=True,
)


@text_steps.register("segment")
class Segment(TextStep):
    """Splits a text into words; Chinese by dictionary and hidden Markov model, the rest by rule.

    Lists of words in the data stay as they are. https://github.com/messense/rjieba-py

    :param language: zh: the whole text is segmented by rjieba; en: the whole text by rule, for any
        language with spaces between words; auto: Chinese characters by rjieba, the rest by rule.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        language: Literal["auto", "zh", "en"] = "auto",
    ) -> None:
        super().__init__(search)
        self._language = language
        if language != "en":
            _jieba_words("")  # a missing rjieba is reported now, not in the middle of the data

    @override
    def __call__(self, text: Text) -> Text:
        if isinstance(text, list):
            return text
        if self._language == "auto":
            runs = _RUNS.findall(text)
            words = [word for run in runs for word in _words_of_run(run)]
        else:
            words = _jieba_words(text) if self._language == "zh" else _rule_words(text)
        return [word for word in words if not word.isspace()]


def _words_of_run(run: str) -> list[str]:
    """Return the words of a run of characters that are all Chinese, or all not Chinese."""
    return _jieba_words(run) if re.match(f"[{_HAN}]", run) else _rule_words(run)


def _rule_words(text: str) -> list[str]:
    return [word for word, _ in _RULE.pre_tokenize_str(text)]


def _jieba_words(text: str) -> list[str]:
    words: list[str] = require("rjieba", part="segment", extra="text").cut(text)
    return words
