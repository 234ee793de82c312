"""Who is asking for what: paths, methods, credentials, version, size, JSON."""

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from patterns.fake_api.journal import Packed
from patterns.fake_api.validation.betas import betas_of
from patterns.fake_api.validation.versions import check_version
from patterns.fake_api.wire.encoding import decoded
from patterns.fake_api.wire.errors import APIError
from patterns.fake_api.wire.http import Request
from patterns.fake_api.wire.jsons import from_bytes

if TYPE_CHECKING:
    from patterns.fake_api.sign_in import Access

MOST_BYTES: Final = 32 * 1024 * 1024
MOST_BATCH_BYTES: Final = 256 * 1024 * 1024
MOST_FILE_BYTES: Final = 500 * 1024 * 1024
BATCHES: Final = "/v1/messages/batches"
FILES: Final = "/v1/files"
TOKENS: Final = "/v1/oauth/token"
ROUTES: Final = (
    (re.compile(r"/v1/messages\Z"), {"POST": "message"}),
    (re.compile(r"/v1/messages/count_tokens\Z"), {"POST": "count_tokens"}),
    (re.compile(r"/v1/messages/batches\Z"), {"POST": "batch_create", "GET": "batch_list"}),
    (re.compile(r"/v1/messages/batches/([^/]+)\Z"), {"GET": "batch", "DELETE": "batch_delete"}),
    (re.compile(r"/v1/messages/batches/([^/]+)/cancel\Z"), {"POST": "batch_cancel"}),
    (re.compile(r"/v1/messages/batches/([^/]+)/results\Z"), {"GET": "batch_results"}),
    (re.compile(r"/v1/files\Z"), {"POST": "file_upload", "GET": "file_list"}),
    (re.compile(r"/v1/files/([^/]+)\Z"), {"GET": "file", "DELETE": "file_delete"}),
    (re.compile(r"/v1/files/([^/]+)/content\Z"), {"GET": "file_content"}),
    (re.compile(r"/v1/skills\Z"), {"GET": "skills"}),
    (re.compile(r"/v1/models\Z"), {"GET": "models"}),
    (re.compile(r"/v1/models/([^/]+)\Z"), {"GET": "model"}),
    (re.compile(rf"{TOKENS}\Z"), {"POST": "token"}),
)
NO_BETAS: Final = frozenset[str]()


@dataclass(slots=True)
class Call:
    """A request on its way through the fake."""

    request: Request
    digest: bytes
    ordinal: int
    """How many equal requests there have been, this one included."""
    at: float
    workspace: str = ""
    _packed: Packed | None = None
    _may_cache: bool | None = None
    _betas: frozenset[str] | None = None

    @property
    def may_cache(self) -> bool:
        """Whether the body speaks of the cache at all; looked up once, batches are long."""
        if self._may_cache is None:
            self._may_cache = b"cache_control" in self.request.body
        return self._may_cache

    @property
    def packed(self) -> Packed:
        """The body as it is kept; journal and batch share it."""
        if self._packed is None:
            self._packed = Packed.of(self.request.body)
        return self._packed

    @property
    def betas(self) -> frozenset[str]:
        """The betas that the request asks for."""
        if self._betas is None:
            header = self.request.headers.get("anthropic-beta")
            self._betas = NO_BETAS if header is None else betas_of(header)
        return self._betas

    @property
    def version(self) -> str:
        """The API's version that the request names."""
        return self.request.headers["anthropic-version"]

    def decode(self) -> APIError | None:
        """Unpack the body; what is wrong with it, where it cannot be unpacked."""
        headers = self.request.headers
        if "content-encoding" not in headers and "charset" not in headers.get("content-type", ""):
            return None
        try:
            self.request = decoded(self.request, most_bytes(self.request.path))
        except APIError as error:
            return error
        return None

    def lenient_body(self) -> Any:
        """The body for a fault's predicate: None where it is no JSON."""
        try:
            return parse(self.request)
        except APIError:
            return None


def route(request: Request) -> tuple[str, str]:
    """What the request asks for, and the id in its path.

    Raises:
        APIError: 404 for an unknown path, 405 for a method that the path does not take.
    """
    for pattern, methods in ROUTES:
        if match := pattern.match(request.path):
            if request.method not in methods:
                allowed = ", ".join(sorted(methods))
                raise APIError(
                    405,
                    f"{request.method} is not allowed on {request.path}; use {allowed}",
                    headers={"allow": allowed},
                )
            return methods[request.method], match[1] if pattern.groups else ""
    raise APIError(404, f"Not found: there is no {request.path!r} here")


def identify(call: Call, access: "Access", handler: str) -> str:
    """The workspace of a request: whose cache and batches it sees.

    Raises:
        APIError: 401 without an accepted credential, 403 for one that has not got the endpoint,
            400 without a version, 413 for a body that is too large.
    """
    request = call.request
    key, token = request.headers.get("x-api-key"), _bearer(request)
    if key and token:
        raise APIError(401, "send x-api-key or Authorization: Bearer, not both")
    credential = key or token
    if not credential:
        raise APIError(401, "a credential is required: x-api-key or Authorization: Bearer")
    bound = access.workspace_of(credential, handler, call.at, bearer=not key)
    check_version(request.headers.get("anthropic-version"))
    _check_size(request)
    # The workspace of a token or a scoped key was chosen when it was made: the header is ignored.
    workspace = bound or request.headers.get("anthropic-workspace-id")
    return workspace or blake2b(credential.encode(), digest_size=8).hexdigest()


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def most_bytes(path: str) -> int:
    """The largest body that a path takes."""
    return {BATCHES: MOST_BATCH_BYTES, FILES: MOST_FILE_BYTES}.get(path, MOST_BYTES)


def _check_size(request: Request) -> None:
    if len(request.body) > (most := most_bytes(request.path)):
        raise APIError(413, f"Request exceeds the maximum size of {most // 2**20} MB")


def parse(request: Request) -> Any:
    """The request's JSON.

    Raises:
        APIError: 400 where it is none.
    """
    try:
        return from_bytes(request.body)
    except RecursionError:
        raise APIError(400, "the request body is nested too deeply") from None
    except ValueError as error:
        raise APIError(400, f"the request body is not valid JSON: {error}") from None
