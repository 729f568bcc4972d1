"""From bytes to text: which encoding a file is in, and repair of text decoded by the wrong one."""

from __future__ import annotations

import codecs
import logging
import math
import re
from collections import Counter

from ..models.errors import InputError

logger = logging.getLogger(__name__)

# The first bytes of files that are not text, and what to do about each.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF file: extract its text first, for example with pdftotext"),
    (b"PK\x03\x04", "a ZIP archive or an Office document: unpack it, or save it as plain text"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document: save it as plain text"),
    (b"{\\rtf", "an RTF document: save it as plain text"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image: recognize its text first"),
    (b"\xff\xd8\xff\xe0", "a JPEG image: recognize its text first"),
    (b"\xff\xd8\xff\xe1", "a JPEG image: recognize its text first"),
    (b"GIF87a", "a GIF image: recognize its text first"),
    (b"GIF89a", "a GIF image: recognize its text first"),
    (b"\x1f\x8b", "a gzip file: unpack it first, for example with gunzip"),
    (b"BZh", "a bzip2 file: unpack it first, for example with bunzip2"),
    (b"\xfd7zXZ\x00", "an xz file: unpack it first, for example with unxz"),
    (b"(\xb5/\xfd", "a zstd file: unpack it first, for example with unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it first"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\x00", "a database: export its text first"),
)

_BOMS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# How often each letter stands among a thousand letters of Arabic prose, in round numbers.
_SHARES = (
    "ا:150 ل:115 ي:70 م:62 و:60 ن:58 ر:48 ت:48 ب:38 ة:33 ع:33 د:31 س:27 ف:27 ه:27 ك:22 ق:22 "
    "أ:21 ح:20 ج:14 ش:12 ،:12 ط:11 ص:10 خ:9 إ:9 ى:9 ذ:7 ض:7 ث:7 ز:6 غ:5 ئ:5 ء:4 ظ:3 آ:2 ؤ:2 "
    "؟:2 ؛:1 ـ:1 «:3 »:3 “:3 ”:3 …:1 –:1 َ:2 ِ:2 ُ:2 ّ:3 ْ:2 ً:3 ٌ:1 ٍ:1"
)
_LETTER_SCORE = {item[0]: math.log(int(item[2:]) / 1000) for item in _SHARES.split()}
_UNLIKELY = math.log(1 / 20000)
# Arabic prose scores about -3.0; bytes of another kind read as Arabic score under -4.2.
_PLAUSIBLE = -4.0
_EVIDENCE = 6.0  # natural log of the odds
_SAMPLE = 100_000

_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\x0b\x0c\x1a\x1b\x00"))
_CONTROL_SHARE = 0.02
_NUL_SHARE = 0.1


def arabic_score(text: str) -> float:
    """Mean log probability of the non-ASCII characters as letters of Arabic prose.

    About -3.0 for Arabic, under -4.2 for nearly anything else; minus infinity where all is ASCII.
    """
    counts = Counter(character for character in text if character > "\x7f")
    if not counts:
        return -math.inf
    total = sum(n * _LETTER_SCORE.get(character, _UNLIKELY) for character, n in counts.items())
    return total / counts.total()


def decode(data: bytes) -> tuple[str, str]:
    """Decode the bytes of a text file; give the text and the name of the encoding.

    A byte order mark decides. Else UTF-8 if the bytes are valid in it; else UTF-16, Windows-1256
    or ISO-8859-6, whichever reads as Arabic. Raises InputError for files that are not text, and
    for text in none of these encodings.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _decode_strictly(data, encoding), encoding
    _refuse_binary(data)
    if _looks_like_utf16(data):
        encoding = max(
            ("utf-16-le", "utf-16-be"), key=lambda name: arabic_score(_sample(data, name))
        )
        if arabic_score(_sample(data, encoding)) > _PLAUSIBLE:
            return _decode_strictly(data, encoding), encoding
    _refuse_control_characters(data)
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        encoding = _single_byte_encoding(data)
        if encoding is None:
            raise InputError(_not_utf8(error)) from error
    logger.info("not UTF-8, read as %s", encoding)
    return data.decode(encoding, "replace"), encoding


def _decode_strictly(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"The text is marked as {encoding.removesuffix('-sig').upper()} but is broken at byte "
            f"offset {error.start} ({error.reason}). The file may be cut off: fetch it again, or "
            "save it as UTF-8."
        ) from error


def _refuse_binary(data: bytes) -> None:
    for signature, what in _SIGNATURES:
        if data.startswith(signature):
            raise InputError(f"This is not a text file but {what}.")
    if data[:4] == b"RIFF" and data[8:12] in (b"WEBP", b"WAVE", b"AVI "):
        raise InputError("This is not a text file but an image, sound or film.")


def _refuse_control_characters(data: bytes) -> None:
    controls = len(data) - len(data.translate(None, _CONTROL))
    nuls = data.count(0)
    if controls > _CONTROL_SHARE * len(data) or nuls > _NUL_SHARE * len(data):
        first = re.search(rb"[\x00-\x08\x0e-\x19\x1c-\x1f]", data)
        offset = first.start() if first else 0
        raise InputError(
            f"This is not a text file: {controls + nuls} of its {len(data)} bytes are control "
            f"characters, the first at byte offset {offset}. Convert it to UTF-8 text first."
        )


def _looks_like_utf16(data: bytes) -> bool:
    """Whether every other byte is often the high byte of an Arabic or ASCII character."""
    sample = data[:_SAMPLE]
    half = len(sample) // 2
    if half < 2 or len(data) % 2:
        return False
    return any(
        sample[start::2].count(6) + sample[start::2].count(0) > 0.7 * half for start in (0, 1)
    )


def _sample(data: bytes, encoding: str) -> str:
    return data[:_SAMPLE].decode(encoding, "replace")


def _single_byte_encoding(data: bytes) -> str | None:
    windows = arabic_score(_sample(data, "cp1256"))
    iso = arabic_score(_sample(data, "iso8859-6"))
    if max(windows, iso) <= _PLAUSIBLE:
        return None
    # ISO-8859-6 is rare: in a few words, where chance decides, it needs the better evidence.
    characters = sum(byte > 0x7F for byte in data[:_SAMPLE])
    iso_wins = (iso - windows) * characters > _EVIDENCE or windows <= _PLAUSIBLE
    return "iso-8859-6" if iso_wins else "windows-1256"


def _not_utf8(error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    return (
        f"The text is not valid UTF-8: byte 0x{byte:02x} at offset {error.start} "
        f"({error.reason}), and it does not read as Arabic in Windows-1256 or ISO-8859-6 either. "
        "Save the file as UTF-8, or convert it, for example with: iconv -f ENCODING -t UTF-8."
    )


# UTF-8 read as Windows-1256: each Arabic letter became ط, ظ, ع or غ (bytes D8 to DB) and one more
# character (bytes 80 to BF). Arabic spelling has no such alternation three times running.
_TRAIL = "".join(bytes([byte]).decode("cp1256") for byte in range(0x80, 0xC0))
_TRAIL_CLASS = "[" + re.escape(_TRAIL) + "]"
_PAIR = f"[طظعغ]{_TRAIL_CLASS}"
_ONE_CHARACTER = f"(?:[آأؤإئطظعغ]{_TRAIL_CLASS}|â{_TRAIL_CLASS}{_TRAIL_CLASS})"
_READ_AS_1256 = re.compile(f"(?:{_PAIR}){{3}}")
_RUN_AS_1256 = re.compile(f"{_ONE_CHARACTER}+")
# UTF-8 read as Latin-1 or Windows-1252; ftfy decides whether it is so.
_READ_AS_LATIN = re.compile("[ÂÃØÙÚÛâ][^\x00-\x7f\u0600-\u06ff]")
_LATIN_LETTER = re.compile("[A-Za-z\xc0-\xff]")
_HIGH_LATIN = re.compile("[\xc0-\xff]")
_ARABIC = re.compile("[\u0621-\u064a]")
_MIN_HIGH_LATIN = 6


def repair_mojibake(text: str) -> tuple[str, int]:
    """Repair lines that were decoded by the wrong encoding; give the text and how many there were.

    Knows UTF-8 read as Windows-1256 (`ظ†ط¹ظ…`) or as Latin-1 (`Ù†Ø¹Ù…`), and Windows-1256 read
    as Latin-1 (`äÚã`). A line that is not clearly such a case stays as it is.
    """
    lines = text.split("\n")
    repaired = [_repair_line(line) for line in lines]
    return "\n".join(repaired), sum(a != b for a, b in zip(lines, repaired, strict=True))


def _repair_line(line: str) -> str:
    if line.isascii():
        return line
    if _READ_AS_1256.search(line):
        line = _RUN_AS_1256.sub(_reread_run, line)
    if _READ_AS_LATIN.search(line):
        import ftfy

        fixed = ftfy.fix_encoding(line)
        if "â€" in line or len(_ARABIC.findall(fixed)) > len(_ARABIC.findall(line)):
            line = fixed
    return _reread_latin(line)


def _reread_run(match: re.Match[str]) -> str:
    try:
        return match[0].encode("cp1256").decode("utf-8")
    except UnicodeError:
        return match[0]


def _reread_latin(line: str) -> str:
    high = len(_HIGH_LATIN.findall(line))
    if high < _MIN_HIGH_LATIN or high < 0.8 * len(_LATIN_LETTER.findall(line)):
        return line
    try:
        reread = line.encode("cp1252").decode("cp1256")
    except UnicodeError:
        return line
    return reread if arabic_score(reread) > _PLAUSIBLE else line
