"""Images and documents: base64, size, dimensions, number, and citations all or none.

Sources: build-with-claude/{vision, pdf-support, citations, search-results}, August 2026; the
details of `image_dimensions_too_large` from anthropic 2.14.0.
"""

import base64
import binascii
import math
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from patterns.core.models import ModelFacts
from patterns.fake_api.validation.tools import output_format
from patterns.fake_api.validation.turns import blocks_of
from patterns.fake_api.wire.errors import APIError, bad

MOST_BYTES: Final = 10 * 1024 * 1024
"""Of one image, as base64."""
LONGEST_SIDE: Final = 8_000
MANY: Final = 20
PATCH: Final = 28
"""Side of the square of pixels that is one visual token."""
PATCHES: Final[Mapping[int, int]] = {1_568: 1_568, 2_576: 4_784}
"""Visual tokens that an image may have, by the longest side that a model sees."""
LONGEST_OF_MANY: Final = 2_000
"""Longest side where a request holds more than `MANY` images."""
PDF_PAGE: Final = re.compile(rb"/Type\s*/Page\b(?!s)")


def check_media(body: Mapping[str, Any], facts: ModelFacts) -> None:
    """Raise the 400 for images, documents or citations that the API would not take."""
    found = list(media_of(body))
    if not found:
        return
    images = [(path, block) for path, block in found if block["type"] == "image"]
    if len(images) > facts.images:
        raise bad("messages", f"too many images: {len(images)}, at most {facts.images} are allowed")
    sizes = {path: _check_image(path, block) for path, block in images}
    _check_sides(images, sizes, facts)
    pages = sum(_check_document(path, b) for path, b in found if b["type"] == "document")
    if pages > facts.images:
        raise bad("messages", f"{pages} PDF pages, at most {facts.images} are allowed")
    _check_citations(body, [block for _, block in found])


def media_of(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every image, document and search result, with its path; those in tool results too."""
    kinds = ("image", "document", "search_result")
    for n, message in enumerate(body["messages"]):
        for m, block in enumerate(blocks_of(message)):
            path = f"messages.{n}.content.{m}"
            inner = block.get("content") if block["type"] == "tool_result" else None
            if block["type"] in kinds:
                yield path, block
            for k, part in enumerate(inner if isinstance(inner, list) else ()):
                if part["type"] in kinds:
                    shown = _of_toolset(part) if block.get("toolset_name") else part
                    yield f"{path}.content.{k}", shown


def _of_toolset(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A screenshot is never made smaller: the model clicks on what it sees."""
    return {**part, "transformations": {"oversized_image": "error"}}


def _decoded(path: str, data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise bad(f"{path}.source.base64.data", "invalid base64 data") from None


def _check_image(path: str, block: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height of an image, where they can be known."""
    source = block["source"]
    if source["type"] == "url":
        _check_url(f"{path}.image.source.url.url", source["url"])
    if source["type"] != "base64":
        return None
    if len(source["data"]) > MOST_BYTES:
        raise bad(
            f"{path}.image.source.base64",
            f"image exceeds 10 MB maximum: {len(source['data'])} bytes > {MOST_BYTES} bytes",
        )
    data = _decoded(f"{path}.image", source["data"])
    kind = kind_of(data)
    if kind is None:
        raise APIError(400, f"{path}: Could not process image")
    if kind != source["media_type"]:
        raise bad(
            f"{path}.image.source.base64",
            f"The image was specified using the {source['media_type']} media type, but the image "
            f"appears to be a {kind} image",
        )
    return size_of(data, kind)


def _check_url(path: str, url: str) -> None:
    if not url.startswith("https://"):
        raise bad(path, "Only HTTPS URLs are supported.")


def kind_of(data: bytes) -> str | None:
    """The media type that an image's first bytes say."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def size_of(data: bytes, kind: str) -> tuple[int, int] | None:
    """Width and height in pixels, from the head of an image; None where it is cut off or odd."""
    try:
        if kind == "image/png":
            return struct.unpack(">II", data[16:24])
        if kind == "image/gif":
            return struct.unpack("<HH", data[6:10])
        return _jpeg_size(data) if kind == "image/jpeg" else _webp_size(data)
    except struct.error:
        return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data):
        marker, length = struct.unpack(">xBH", data[at : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if len(data) < (25 if kind == b"VP8L" else 30):
        return None
    if kind == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _check_sides(
    images: list[tuple[str, Mapping[str, Any]]],
    sizes: Mapping[str, tuple[int, int] | None],
    facts: ModelFacts,
) -> None:
    longest = LONGEST_OF_MANY if len(images) > MANY else LONGEST_SIDE
    large = [path for path, size in sizes.items() if size is not None and max(size) > longest]
    if large:
        many = " for many-image requests" if longest == LONGEST_OF_MANY else ""
        raise APIError(
            400,
            f"{large[0]}.image.source.base64.data: At least one of the image dimensions exceed "
            f"max allowed size{many}: {longest} pixels",
            error_code="image_dimensions_too_large",
            details={"max_side_length_pixels": longest, "paths": large},
        )
    for path, block in images:
        size = sizes[path]
        wish = (block.get("transformations") or {}).get("oversized_image")
        if wish == "error" and size is not None and not _is_seen_whole(size, facts):
            raise bad(
                f"{path}.image",
                f"the image has {size[0]}x{size[1]} pixels; {facts.id} sees at most "
                f"{facts.image_edge} on a side and {PATCHES[facts.image_edge]} visual tokens of "
                f"{PATCH}x{PATCH} pixels, and oversized_image is 'error'",
            )


def _is_seen_whole(size: tuple[int, int], facts: ModelFacts) -> bool:
    """Whether a model takes an image as it is, not made smaller."""
    patches = math.prod(math.ceil(side / PATCH) for side in size)
    return max(size) <= facts.image_edge and patches <= PATCHES[facts.image_edge]


def _check_document(path: str, block: Mapping[str, Any]) -> int:
    """The pages of a document, where it is a PDF that can be seen."""
    source = block["source"]
    if source["type"] == "url":
        _check_url(f"{path}.document.source.url.url", source["url"])
    if source["type"] != "base64":
        return 0
    data = _decoded(f"{path}.document", source["data"])
    if not data.startswith(b"%PDF"):
        raise bad(f"{path}.document.source.base64.data", "The PDF specified was not valid.")
    if b"/Encrypt" in data:
        raise bad(f"{path}.document.source.base64.data", "The PDF is password protected.")
    return len(PDF_PAGE.findall(data))


def _check_citations(body: Mapping[str, Any], blocks: list[Mapping[str, Any]]) -> None:
    searches = any(tool.get("name") == "web_search" for tool in body.get("tools") or ())
    for kind in ("document", "search_result"):
        cited = {
            bool((block.get("citations") or {}).get("enabled"))
            for block in blocks
            if block["type"] == kind
        }
        if len(cited) > 1:
            raise bad("messages", f"citations must be enabled on all or none of the {kind} blocks")
        if kind == "search_result" and searches and False in cited:
            raise bad("messages", "with web search, citations must be enabled on search results")
        if True in cited and output_format(body) is not None:
            raise APIError(400, "citations cannot be used together with an output format")
