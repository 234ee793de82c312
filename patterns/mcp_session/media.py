"""Images and PDF files as the Messages API takes them, told by their bytes and not by their label.

One file that cannot be read ends the conversation with a 400, so each is looked at first. Limits:
docs "Vision" and "PDF support" (10 MB an image, 8,000 pixels a side, 32 MB a request).
"""

import base64
import binascii
import struct
from typing import Final

LARGEST_IMAGE: Final = 10_000_000
LARGEST_PDF: Final = 20_000_000
LONGEST_SIDE: Final = 8_000
JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def bare(data: str) -> str:
    """Base64 text without line breaks, and without the data URI that some servers put before it."""
    text = "".join(data.split())
    return text.partition(",")[2] if text.startswith("data:") else text


def decoded(data: str) -> bytes | None:
    """The bytes of base64 text; None if it is none."""
    try:
        return base64.b64decode(bare(data), validate=True)
    except (binascii.Error, ValueError):
        return None


def as_text(data: bytes | None) -> str | None:
    """The text of a file that is one, whatever its label says; None for binary data."""
    try:
        text = (data or b"").decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text and "\0" not in text else None


def image_type(data: bytes) -> str | None:
    """The media type of a whole image of a size that Claude reads; None for everything else."""
    if len(data) * 4 / 3 > LARGEST_IMAGE:
        return None
    for kind, size in (("png", _png), ("gif", _gif), ("webp", _webp), ("jpeg", _jpeg)):
        try:
            sides = size(data)
        except (struct.error, IndexError):
            continue
        if sides is not None and min(sides) > 0 and max(sides) <= LONGEST_SIDE:
            return f"image/{kind}"
    return None


def is_pdf(data: bytes) -> bool:
    """Whether this is a whole PDF file that opens without a password."""
    whole = data[:1024].lstrip().startswith(b"%PDF-") and b"%%EOF" in data[-2048:]
    return whole and b"/Encrypt" not in data and len(data) * 4 / 3 <= LARGEST_PDF


def _png(data: bytes) -> tuple[int, ...] | None:
    if data[:8] != b"\x89PNG\r\n\x1a\n" or b"IEND" not in data[-64:]:
        return None
    return struct.unpack(">II", data[16:24])


def _gif(data: bytes) -> tuple[int, ...] | None:
    if data[:6] not in (b"GIF87a", b"GIF89a") or b";" not in data[-64:]:
        return None
    return struct.unpack("<HH", data[6:10])


def _webp(data: bytes) -> tuple[int, ...] | None:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    if struct.unpack("<I", data[4:8])[0] + 8 > len(data) + 1:
        return None
    match data[12:16]:
        case b"VP8X":
            both = int.from_bytes(data[24:30], "little")
            return (both & 0xFFFFFF) + 1, (both >> 24) + 1
        case b"VP8L":
            bits = struct.unpack("<I", data[21:25])[0]
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack("<HH", data[26:30])
            return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(data: bytes) -> tuple[int, ...] | None:
    if data[:3] != b"\xff\xd8\xff" or b"\xff\xd9" not in data[-4096:]:
        return None
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker in JPEG_FRAMES:
            return struct.unpack(">HH", data[at + 5 : at + 9])
        at += 1 if marker == 0xFF else 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None
