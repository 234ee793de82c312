"""Whether the API would take a batch: its shape, not yet what its requests ask for.

Bad parameters of a single request do not stop a batch; they come back as an errored result.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from patterns.fake_api.validation.values import said
from patterns.fake_api.wire.errors import APIError, bad

MOST_REQUESTS: Final = 100_000
NOT_BATCHED: Final = ("thread", "fallbacks")
CUSTOM_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


def check_batch(body: Any) -> list[dict[str, Any]]:
    """The requests of a batch.

    Raises:
        APIError: 400 with the path of what is wrong.
    """
    if not isinstance(body, dict):
        raise APIError(400, f"the body must be a JSON object, not {said(body)}")
    for key in body:
        if key != "requests":
            raise bad(key, "this field is not permitted here")
    requests = body.get("requests")
    if not isinstance(requests, list):
        raise bad("requests", "this field is required and must be an array")
    if not 1 <= len(requests) <= MOST_REQUESTS:
        raise bad("requests", f"must hold 1 to {MOST_REQUESTS:,} requests, got {len(requests):,}")
    seen: set[str] = set()
    for n, request in enumerate(requests):
        seen.add(_check_one(n, request, seen))
    return requests


def _check_one(n: int, request: Any, seen: set[str]) -> str:
    """The `custom_id` of one request."""
    if not isinstance(request, dict):
        raise bad(f"requests.{n}", f"must be an object, got {said(request)}")
    custom_id = request.get("custom_id")
    if not isinstance(custom_id, str) or not CUSTOM_ID.match(custom_id):
        raise bad(
            f"requests.{n}.custom_id", "must be 1 to 64 letters, digits, underscores or hyphens"
        )
    if custom_id in seen:
        raise bad(f"requests.{n}.custom_id", f"{custom_id!r} comes twice; ids must be unique")
    if not isinstance(request.get("params"), dict):
        raise bad(f"requests.{n}.params", "this field is required and must be an object")
    for key in request:
        if key not in ("custom_id", "params"):
            raise bad(f"requests.{n}.{key}", "this field is not permitted here")
    return custom_id


def check_batched(params: Mapping[str, Any]) -> None:
    """What a plain request may ask for and one in a batch may not.

    Raises:
        APIError: 400 with the path of what is wrong.
    """
    for key in NOT_BATCHED:
        if params.get(key) is not None:
            raise bad(key, f"`{key}` is not possible in a batch")
    if (params.get("billing_policy") or {}).get("bill_to") == "user_profile":
        raise bad("billing_policy", "billing a user profile is not possible in a batch")
    if params.get("stream"):
        raise bad("stream", "streaming is not possible in a batch")
    if params.get("max_tokens") == 0:
        raise bad("max_tokens", "0 (cache warming) is not possible in a batch")
    if params.get("speed") == "fast":
        raise bad("speed", "fast mode is not possible in a batch")
