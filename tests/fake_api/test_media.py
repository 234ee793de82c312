"""Images and documents as the API looks at them: their first bytes, not their names."""

import base64
import struct
from typing import Any

import anthropic
import pytest

from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI
from patterns.fake_api.validation.media import kind_of, size_of

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 30, 20)
GIF = b"GIF89a" + struct.pack("<HH", 30, 20)
JPEG = (
    b"\xff\xd8\xff\xe0"
    + struct.pack(">H", 6)
    + b"JFIF"
    + b"\xff\xc4"
    + struct.pack(">H", 4)
    + b"ab"
    + b"\xff\xc2"
    + struct.pack(">HBHH", 17, 8, 20, 30)
)
RIFF = b"RIFF\0\0\0\0WEBP"
VP8 = RIFF + b"VP8 " + b"\0" * 10 + struct.pack("<HH", 0x4000 | 30, 20)
VP8L = RIFF + b"VP8L" + b"\0" * 5 + struct.pack("<I", 29 | 19 << 14)
VP8X = RIFF + b"VP8X" + b"\0" * 8 + (29).to_bytes(3, "little") + (19).to_bytes(3, "little")
IMAGES = {
    "png": ("image/png", PNG),
    "gif": ("image/gif", GIF),
    "jpeg": ("image/jpeg", JPEG),
    "webp, lossy": ("image/webp", VP8),
    "webp, lossless": ("image/webp", VP8L),
    "webp, extended": ("image/webp", VP8X),
}


@pytest.mark.parametrize(("kind", "data"), IMAGES.values(), ids=IMAGES)
def test_kind_and_size_are_read_from_the_first_bytes(kind: str, data: bytes) -> None:
    """Each format has them in a place of its own."""
    assert kind_of(data) == kind
    assert size_of(data, kind) == (30, 20)


@pytest.mark.parametrize(("kind", "data"), IMAGES.values(), ids=IMAGES)
def test_an_image_that_is_cut_off_has_no_size(kind: str, data: bytes) -> None:
    """And is no reason to fail."""
    for end in range(len(data)):
        assert size_of(data[:end], kind) is None


def test_bytes_that_are_no_image_have_no_kind() -> None:
    """Neither text nor another container."""
    assert [kind_of(data) for data in (b"", b"hello", b"RIFF\0\0\0\0WAVE", b"%PDF-1.7")] == [
        None
    ] * 4


def send(*blocks: dict[str, Any], **options: Any) -> object:
    """One user turn of blocks."""
    body = {
        "model": SONNET,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": list(blocks)}],
        **options,
    }
    return FakeAPI().client().post("/v1/messages", body=body, cast_to=object)


def image(data: bytes, kind: str = "image/png") -> dict[str, Any]:
    """An image block."""
    source = {"type": "base64", "media_type": kind, "data": base64.b64encode(data).decode()}
    return {"type": "image", "source": source}


def pdf(data: bytes) -> dict[str, Any]:
    """A document block."""
    return {"type": "document", "source": {**image(data, "application/pdf")["source"]}}


def sized(width: int, height: int) -> bytes:
    """The head of a PNG."""
    return PNG[:16] + struct.pack(">II", width, height)


def test_the_longest_side_of_one_and_of_many_images() -> None:
    """8,000 pixels; 2,000 once there are more than 20, and then for every image."""
    assert send(image(sized(8000, 1)))
    with pytest.raises(anthropic.BadRequestError, match="8000 pixels") as caught:
        send(image(sized(1, 8001)))
    body: Any = caught.value.body
    assert body["error"]["details"] == {
        "error_code": "image_dimensions_too_large",
        "max_side_length_pixels": 8000,
        "paths": ["messages.0.content.0"],
    }
    small = image(sized(1, 1))
    assert send(*[small] * 19, image(sized(2001, 1)))
    assert send(*[small] * 20, image(sized(2000, 1)))
    with pytest.raises(anthropic.BadRequestError, match="many-image requests: 2000 pixels"):
        send(*[small] * 20, image(sized(2001, 1)))


def test_an_image_may_have_ten_megabytes_as_base64() -> None:
    """A byte more is refused."""
    most = 10 * 1024 * 1024
    assert send(image(PNG + bytes(most // 4 * 3 - len(PNG))))
    with pytest.raises(anthropic.BadRequestError, match="10485764 bytes > 10485760"):
        send(image(PNG + bytes(most // 4 * 3 - len(PNG) + 1)))


def test_images_in_results_count_as_well() -> None:
    """The path leads into the result."""
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [image(b"none")]}
    turns = [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "a", "input": {}}],
        },
        {"role": "user", "content": [result]},
    ]
    tools = [{"name": "a", "input_schema": {"type": "object"}}]
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.2\.content\.0\.content\.0: Co"):
        send(messages=turns, tools=tools)


DOCUMENTS: list[tuple[dict[str, Any], str]] = [
    (pdf(b"text"), "PDF specified was not valid"),
    (pdf(b"%PDF-1.7 /Encrypt"), "password protected"),
    (pdf(b"%PDF-1.7 " + b"/Type /Page " * 601), "601 PDF pages, at most 600"),
    ({"type": "document", "source": {"type": "url", "url": "http://a.org/a.pdf"}}, "Only HTTPS"),
]


@pytest.mark.parametrize(("document", "said"), DOCUMENTS)
def test_documents_that_are_refused(document: dict[str, Any], said: str) -> None:
    """No PDF, a locked one, too many pages, an address without TLS."""
    with pytest.raises(anthropic.BadRequestError, match=said):
        send(document)


def test_documents_that_are_taken() -> None:
    """600 pages, of which the tree's own node is none; a file by address."""
    assert send(pdf(b"%PDF-1.7 /Type /Pages " + b"/Type/Page " * 600))
    assert send({"type": "document", "source": {"type": "url", "url": "https://a.org/a.pdf"}})
