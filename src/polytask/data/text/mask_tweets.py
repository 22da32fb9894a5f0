"""Masks user names and web addresses in tweets."""

from __future__ import annotations

import re
from pathlib import Path

from typing_extensions import override

from polytask.data.text.base import Text, TextStep, text_steps

# Chinese puts no space before either, so only Latin letters and digits before them forbid a match.
_MENTION = re.compile(r"(?<![A-Za-z0-9_.@])@\w+")
_ADDRESS = re.compile(
    r"(?<![A-Za-z0-9])(?:https?://(?:[!-~]*[A-Za-z0-9/])?|www\.[!-~]*[A-Za-z0-9/])", re.IGNORECASE
)


@text_steps.register("mask_tweets")
class MaskTweets(TextStep):
    """Replaces user mentions and web addresses, as TweetEval and models trained on tweets expect.

    Barbieri et al., "TweetEval", Findings of EMNLP 2020, section 3.
    https://arxiv.org/abs/2010.12421

    :param user: Replacement of a mention.
    :param url: Replacement of an address.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        user: str = "@user",
        url: str = "http",
    ) -> None:
        super().__init__(search)
        self._user = user
        self._url = url

    @override
    def __call__(self, text: Text) -> Text:
        if isinstance(text, list):
            return [self._mask(word) for word in text]
        return self._mask(text)

    def _mask(self, text: str) -> str:
        # Functions, since a backslash in a replacement string would be an escape.
        text = _ADDRESS.sub(lambda _: self._url, text)
        return _MENTION.sub(lambda _: self._user, text)
