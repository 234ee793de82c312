"""What differs between the API's versions, which a request names in `anthropic-version`.

Source: api/versioning and api/migration-2026-10-21, October 2026. The SDK sends the version of its
major release (`anthropic` 2: 2026-10-21); the older ones still answer as before.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from anthropic._constants import ANTHROPIC_API_VERSION

from patterns.fake_api.validation.turns import blocks_of
from patterns.fake_api.wire.errors import APIError, bad

VERSIONS: Final = ("2023-01-01", "2023-06-01", "2026-10-21")
NEWEST: Final = VERSIONS[-1]
SAMPLING: Final = ("temperature", "top_p", "top_k")


def check_version(version: str | None) -> None:
    """Raise the 400 for a request that names no version, or one that there is not."""
    if version is None:
        raise APIError(400, "anthropic-version: header is required")
    if version not in (*VERSIONS, ANTHROPIC_API_VERSION):
        raise APIError(400, f'anthropic-version: "{version}" is not a valid version')


def check_removed(body: Mapping[str, Any], version: str) -> None:
    """Raise the 400 for what 2026-10-21 and later no longer take."""
    if version < NEWEST:
        return
    for key in SAMPLING:
        if key in body:
            raise bad(key, f"`{key}` is not supported by anthropic-version {version}")
    for n, message in enumerate(body["messages"]):
        for m, block in enumerate(blocks_of(message)):
            path = f"messages.{n}.content.{m}"
            if message["role"] == "assistant" and block["type"] == "document":
                raise bad(path, "`document` blocks cannot be placed directly in assistant messages")
            if message["role"] == "user" and any(part.get("citations") for part in _texts(block)):
                raise bad(path, "`text` blocks of a user message cannot have `citations`")


def _texts(block: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if block["type"] == "text":
        yield block
    if block["type"] == "search_result":
        yield from block["content"]
