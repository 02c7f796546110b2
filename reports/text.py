"""Text from outside, made harmless: what a page may show, and what the fonts of the PDF can show."""

import re
import unicodedata

# what the fonts that travel inside typst cover, found by asking typst; anything else becomes ⟨U+XXXX⟩
_COVERED = (
    "20-7e a0-ac ae-2ff 370-377 37a-37f 384-38a 38c-38c 38e-3a1 3a3-482 48a-4ff 1d00-1dbf 1e00-1eff "
    "2000-200a 2010-2027 202f-205f 2070-2071 2074-208e 2090-209c 20a0-20c0 2100-2151 2153-2184 2190-23ff "
    "2460-2606 2609-262f fffd-fffd"
)
_PRINTABLE = frozenset(
    code
    for span in _COVERED.split()
    for code in range(int(span.partition("-")[0], 16), int(span.partition("-")[2], 16) + 1)
)
_LONG = re.compile(r"\S{33,}")
_LINE = 90  # letters of a line of code
_HEXADECIMAL = re.compile(r"[0-9a-f]+")


def visible(text: str) -> str:
    r"""Replace control and invisible characters, which could hide or reorder text.

    >>> visible("a\x00b\u202ec")
    'a⟨U+0000⟩b⟨U+202E⟩c'
    """
    return "".join(_named(c) if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co") else c for c in text)


def printable(text: str) -> str:
    """Replace also what the fonts of the PDF lack, and let very long words break.

    >>> printable("naïve ε 中")
    'naïve ε ⟨U+4E2D⟩'
    """
    composed = unicodedata.normalize("NFC", text)
    shown = "".join(c if c == "\n" or ord(c) in _PRINTABLE else _named(c) for c in composed)
    return _LONG.sub(_breakable, shown)


def as_typed(text: str) -> str:
    """Take out where words may break, so that a command can be copied; words longer than a line keep it.

    >>> as_typed(printable("replay " + "x" * 40)) == "replay " + "x" * 40
    True
    """
    words = re.split(r"(\s+)", text)
    return "".join(word if len(word) > _LINE else word.replace("\u200b", "") for word in words)


def _named(character: str) -> str:
    return f"⟨U+{ord(character):04X}⟩"


def _breakable(match: re.Match[str]) -> str:
    word = match.group()
    if _HEXADECIMAL.fullmatch(word) and len(word) <= 64:
        return word
    return "\u200b".join(word[start : start + 16] for start in range(0, len(word), 16))
