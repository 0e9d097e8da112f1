"""Text for terminals and files that do not know all characters."""

from __future__ import annotations

import codecs
import io
import re
import sys
import unicodedata

_HANDLER = "ase_hal.plain"
_ASCII = "ase-hal-ascii"

_WORDS = {
    "‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "′": "'", "«": "<<", "»": ">>",
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-", "⁄": "/",
    "×": "x", "÷": "/", "·": ".", "⋅": ".", "∙": ".", "•": "*", "●": "*", "±": "+/-", "∓": "-/+",
    "→": "->", "←": "<-", "↔": "<->", "↑": "^", "↓": "v", "⇒": "=>", "⟨": "<", "⟩": ">",
    "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "∼": "~", "≡": "==", "∝": "~", "∞": "inf",
    "°": "deg", "√": "sqrt", "∑": "sum", "∏": "prod", "∫": "int", "∂": "d", "∇": "grad",
    "∈": "in", "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "þ": "th", "Þ": "Th",
    "ı": "i", "€": "EUR", "£": "GBP", "✓": "ok", "✔": "ok", "✗": "x", "✘": "x",
    "\u200b": "", "\ufeff": "",
}  # fmt: skip


def plain(text: str) -> str:
    """The text in ASCII: ``Å`` becomes ``A``, ``³`` ``^3``, ``σ`` ``sigma``, and lines dashes."""
    if text.isascii():
        return text
    # Bytes of file names that are not text in the encoding of the system become surrogates.
    text = re.sub("[\ud800-\udc7f\udd00-\udfff]", "?", text)
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+", lambda found: "^" + found[0], text)
    return "".join(map(_plain, text))


def _plain(character: str) -> str:
    if character.isascii():
        return character
    if character in _WORDS:
        return _WORDS[character]
    if unicodedata.combining(character):  # an accent
        return ""
    parts = unicodedata.normalize("NFKD", character)
    if parts != character:
        return "".join(map(_plain, parts))
    return _by_name(unicodedata.name(character, ""))


def _by_name(name: str) -> str:
    """A replacement for the character of a name."""
    words = set(name.split())
    if name.startswith("BOX DRAWINGS"):
        along, across = words & {"HORIZONTAL", "LEFT", "RIGHT"}, words & {"VERTICAL", "UP", "DOWN"}
        return ("+" if across else "-") if along else "|"
    if name.startswith("BRAILLE PATTERN"):  # of spinners
        return "*"
    if name.endswith("BLOCK") or name.endswith("SHADE"):
        return "#"
    letter = re.match(r"(GREEK|LATIN) (SMALL|CAPITAL) LETTER (?:FINAL )?(\w+)", name)
    if letter is None or (letter[1] == "LATIN" and len(letter[3]) > 1):
        return "?"
    if letter[1] == "GREEK" and letter[3] == "MU":  # that of micro, too
        return "u" if letter[2] == "SMALL" else "Mu"
    return letter[3].lower() if letter[2] == "SMALL" else letter[3].capitalize()


def use_plain_characters() -> None:
    """Have standard output and error replace characters that they cannot encode."""
    codecs.register_error(_HANDLER, _replace)
    codecs.register(_find_ascii)
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if codecs.lookup(stream.encoding).name == "ascii":
            # typer writes UTF-8 to a stream that it sees to be of ASCII.
            stream.reconfigure(encoding=_ASCII)
        else:
            stream.reconfigure(errors=_HANDLER)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


def _encode(text: str, errors: str = "strict") -> tuple[bytes, int]:
    return plain(text).encode("ascii"), len(text)


class _Encoder(codecs.IncrementalEncoder):
    def encode(self, text: str, final: bool = False) -> bytes:
        return plain(text).encode("ascii")


def _find_ascii(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != _ASCII:
        return None
    own = codecs.lookup("ascii")
    return codecs.CodecInfo(
        encode=_encode,
        decode=own.decode,
        incrementalencoder=_Encoder,
        incrementaldecoder=own.incrementaldecoder,
        name=_ASCII,
    )
