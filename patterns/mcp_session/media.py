"""Images and PDF files as the Messages API takes them, told by their bytes and not by their label.

One file that cannot be read ends the conversation with a 400, so each is looked at first. Limits:
docs "Vision" and "PDF support" (10 MB an image, 8,000 pixels a side, 32 MB a request). Pixels are
not decoded: a small file may unpack to gigabytes.
"""

import base64
import binascii
import struct
from io import BytesIO
from typing import Final

from PIL import Image

LARGEST_IMAGE: Final = 10_000_000
LARGEST_PDF: Final = 20_000_000
LONGEST_SIDE: Final = 8_000
ENDS: Final = {"PNG": b"IEND", "GIF": b";", "JPEG": b"\xff\xd9", "WEBP": b""}
"""The formats that Claude reads, and what the last bytes of a whole file hold."""


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
    try:
        kind, sides = _png(data) or _opened(data)
    except Exception:  # Pillow lets out whatever its parsers meet
        return None
    fits = min(sides) > 0 and max(sides) <= LONGEST_SIDE and ENDS[kind] in data[-4096:]
    return Image.MIME[kind] if fits else None


def _png(data: bytes) -> tuple[str, tuple[int, ...]] | None:
    # Pillow refuses one whose colour profile has a wrong checksum; those who show images do not.
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    return "PNG", struct.unpack(">II", data[16:24])


def _opened(data: bytes) -> tuple[str, tuple[int, ...]]:
    with Image.open(BytesIO(data), formats=list(ENDS)) as image:
        image.verify()
        # A camera's JPEG with a second picture behind it has a name of its own.
        return "JPEG" if image.format == "MPO" else str(image.format), image.size


def is_pdf(data: bytes) -> bool:
    """Whether this is a whole PDF file that opens without a password."""
    whole = data[:1024].lstrip().startswith(b"%PDF-") and b"%%EOF" in data[-2048:]
    return whole and b"/Encrypt" not in data and len(data) * 4 / 3 <= LARGEST_PDF
