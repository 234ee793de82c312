"""The request's body as it was before it was packed: `Content-Encoding`, and the charset."""

import re
import zlib
from dataclasses import replace
from typing import Final

from patterns.fake_api.wire.errors import APIError
from patterns.fake_api.wire.http import Request

CHARSETS: Final = ("utf-8", "utf8", "iso-8859-1", "latin-1", "us-ascii", "ascii")
"""Source: `unsupported_charset`, anthropic 2.14.0."""
WINDOWS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Encodings that are taken, with zlib's window bits for them."""


def decoded(request: Request, most: int) -> Request:
    """The request with its body unpacked.

    Args:
        request: as it came.
        most: the largest body in bytes.

    Raises:
        APIError: 400 for an encoding or a charset that is not taken, or a body that is not what
            the header says; 413 for one that is too large once unpacked.
    """
    _check_charset(request.headers.get("content-type", ""))
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return request
    if encoding not in WINDOWS:
        raise APIError(
            400,
            f"the content-encoding {encoding!r} is not supported; use gzip or none",
            error_code="request_body_encoding_unsupported",
        )
    unpack = zlib.decompressobj(WINDOWS[encoding])
    try:
        body = unpack.decompress(request.body, most + 1)
    except zlib.error:
        body = b""
    if len(body) > most:
        raise APIError(
            413,
            f"Request exceeds the maximum size of {most // 2**20} MB once decoded",
            error_code="request_body_too_large_after_decoding",
        )
    if not unpack.eof:
        raise APIError(
            400,
            f"the request body is not valid for its content-encoding {encoding!r}",
            error_code="request_body_encoding_invalid",
        )
    return replace(request, body=body)


def _check_charset(content_type: str) -> None:
    named = re.search(r"charset=[\"']?([^\s;\"']+)", content_type, re.IGNORECASE)
    if named and named[1].lower() not in CHARSETS:
        raise APIError(
            400,
            f"the charset {named[1]!r} is not supported; use utf-8 or none",
            error_code="unsupported_charset",
        )
