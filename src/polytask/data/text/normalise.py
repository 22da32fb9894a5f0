"""Unicode normalisation, so that equal texts have one spelling."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Literal

from typing_extensions import override

from polytask.data.text.base import Text, TextStep, text_steps

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # control characters that are not white space
    "\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"  # no width, no meaning
)


@text_steps.register("normalise")
class Normalise(TextStep):
    """Unifies character width, white space and (on request) case; drops invisible characters.

    Unicode Standard Annex 15, "Unicode Normalization Forms". https://unicode.org/reports/tr15/

    :param form: nfkc: full-width letters, digits and punctuation become half-width, ligatures
        and other variants become plain letters; nfc: accents are composed, width is kept.
    :param case: lower: letters become lower-case.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        form: Literal["nfkc", "nfc"] = "nfkc",
        case: Literal["keep", "lower"] = "keep",
    ) -> None:
        super().__init__(search)
        self._form: Literal["NFKC", "NFC"] = "NFKC" if form == "nfkc" else "NFC"
        self._lower = case == "lower"

    @override
    def __call__(self, text: Text) -> Text:
        if isinstance(text, list):
            return [self._normalise(word) for word in text]
        return self._normalise(text)

    def _normalise(self, text: str) -> str:
        text = unicodedata.normalize(self._form, _INVISIBLE.sub("", text))
        if self._lower:  # a lower-case letter may have a composed form that its capital lacks
            text = unicodedata.normalize(self._form, text.lower())
        return " ".join(text.split())
