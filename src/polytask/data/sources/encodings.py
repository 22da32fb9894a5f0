"""Guesses the encoding of a text, for messages about a wrong encoding."""

from __future__ import annotations

import codecs
import re

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks. UTF-32 comes first, because its mark begins with the mark of UTF-16."""

_USUAL = {
    "utf-8": [(0x80, 0xFF)],
    "euc_kr": [(0xA1, 0xA1), (0xB0, 0xC8)],
    "euc_jp": [(0xA1, 0xA1), (0xA4, 0xA5), (0xB0, 0xCF)],
    "gb18030": [(0xA1, 0xA3), (0xB0, 0xD7)],
    "big5": [(0xA1, 0xA3), (0xA4, 0xC6)],
    "shift_jis": [(0x81, 0x83), (0x88, 0x97)],
    "cp1251": [(0xC0, 0xFF)],
    "cp1252": [(0x80, 0x9F), (0xC0, 0xFF)],
}
"""Encodings with the ranges of the first bytes of frequent characters.

Most bytes are valid in several encodings. Decoded with a wrong one, a text has rare characters.
"""

_MIXED = {"cp1251": re.compile(r"\w*[A-Za-z][^\W\x00-\x7f]+|[^\W\x00-\x7f]+[A-Za-z]\w*")}
"""Words that mix two alphabets: a sign that the encoding is wrong."""

_SAMPLE = 100_000
_SHOWN = 20


def suggest_encoding(content: bytes, encoding: str) -> str:
    """Return a sentence that suggests another encoding, with a sample of the decoded text.

    :param content: The first bytes of a file.
    :param encoding: The encoding that failed.
    """
    found = guess_encoding(content)
    if found is None or codecs.lookup(found) == codecs.lookup(encoding):
        return " Save the file as UTF-8, or name its encoding: encoding: NAME."
    text = content.decode(found, "ignore")
    line = next((line for line in text.splitlines() if not line.isascii()), text)
    sample = line.strip("\ufeff ")[:_SHOWN]
    return f" As {found} it reads {sample!r}; if that is right, write: encoding: {found}."


def guess_encoding(content: bytes) -> str | None:
    """Return the encoding with the largest share of usual characters; None if none fits."""
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            return name
    if b"\0" in content:
        # Most texts have characters below U+0100, whose high byte is 0: it comes second in
        # little-endian order.
        little = content[1::2].count(0) > content[::2].count(0)
        ends = content.count(b"\n\0" if little else b"\0\n")
        return f"utf-16-{'le' if little else 'be'}" if ends == content.count(b"\n") else None
    if _is_mostly_utf8(content[:_SAMPLE]):
        return None
    scores = {name: _usual_share(content[:_SAMPLE], name) for name in _USUAL}
    best = max(scores, key=scores.__getitem__)
    return best if scores[best] > 0 else None


def _is_mostly_utf8(content: bytes) -> bool:
    """Return whether a file is UTF-8 except for some damaged lines."""
    text = content.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    return 0 < 4 * damaged < sum(character > "\x7f" for character in text)


def _usual_share(content: bytes, encoding: str) -> float:
    """Return the share of frequent characters among non-ASCII characters; 0 if decoding fails."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(content)
        first = [character.encode(encoding)[0] for character in text if character > "\x7f"]
    except UnicodeError:
        return 0.0
    if encoding in _MIXED and _MIXED[encoding].search(text):
        return 0.0
    usual = sum(any(low <= byte <= high for low, high in _USUAL[encoding]) for byte in first)
    return usual / max(1, len(first))
