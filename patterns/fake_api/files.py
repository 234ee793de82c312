"""`/v1/files`: upload, list, look up, delete. Held in memory, per workspace.

Source: build-with-claude/files, August 2026; the types of anthropic 2.14.0. What the code
execution tool makes is not here, so nothing can be downloaded.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from email import message_from_bytes
from typing import Any, Final

from patterns.fake_api.build import make_id
from patterns.fake_api.catalogue import limit_of
from patterns.fake_api.limits import rfc3339
from patterns.fake_api.validation.media import media_of
from patterns.fake_api.validation.turns import blocks_of
from patterns.fake_api.wire.answers import json_answer
from patterns.fake_api.wire.errors import APIError, bad
from patterns.fake_api.wire.http import Answer, Request
from patterns.fake_api.wire.routes import Call

NAME: Final = re.compile(r'[^<>:"|?*\\/\x00-\x1f]{1,255}\Z')
MOST_IDS: Final = 100
FITS: Final[Mapping[str, tuple[str, ...]]] = {
    "image": ("image/jpeg", "image/png", "image/gif", "image/webp"),
    "document": ("application/pdf", "text/plain"),
}
"""Media types of the files that a block may name."""


class Files:
    """The files of one fake API."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._files: dict[str, tuple[str, dict[str, Any]]] = {}

    def handlers(self) -> Mapping[str, Callable[[Call, str], Answer]]:
        """Each endpoint's function, by the names that `routes` gives."""
        return {
            "file_upload": self._upload,
            "file_list": self._list,
            "file": lambda call, file_id: json_answer(self._get(file_id, call.workspace)),
            "file_delete": self._delete,
            "file_content": self._content,
        }

    def check(self, body: Mapping[str, Any], workspace: str) -> None:
        """Raise the error for a request that names files which are not there or do not fit."""
        for path, file_id, kind in _named(body):
            mime = self._get(file_id, workspace)["mime_type"]
            if mime not in FITS.get(kind, (mime,)):
                raise bad(path, f"a file of type {mime} does not fit a block of type {kind!r}")

    def _get(self, file_id: str, workspace: str) -> dict[str, Any]:
        owner, metadata = self._files.get(file_id, ("", {}))
        if not metadata or owner != workspace:
            raise APIError(404, f"File not found: {file_id}")
        return metadata

    def _upload(self, call: Call, _: str) -> Answer:
        name, mime, size = _uploaded(call.request)
        file_id = make_id("file", self._seed, call.digest, call.ordinal)
        metadata = {
            "id": file_id,
            "type": "file",
            "filename": name,
            "mime_type": mime,
            "size_bytes": size,
            "created_at": rfc3339(int(call.at)),
            "downloadable": False,
            "expires_at": None,
        }
        self._files[file_id] = (call.workspace, metadata)
        return json_answer(metadata)

    def _list(self, call: Call, _: str) -> Answer:
        limit = limit_of(call.request.query)
        if "ids[]" in call.request.query:
            return self._known(call)
        own = [data for owner, data in self._files.values() if owner == call.workspace]
        start = _start(call.request.query.get("page"))
        more = start + limit < len(own)
        page = list(reversed(own))[start : start + limit]
        return json_answer(
            {
                "data": page,
                "has_more": more,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "next_page": f"page_{start + limit}" if more else None,
            }
        )

    def _known(self, call: Call) -> Answer:
        """The files of a list of ids, on one page; those that are not there are left out."""
        if call.request.query.keys() & {"page", "limit"}:
            raise bad("ids[]", "cannot be combined with page or limit")
        ids = call.request.query["ids[]"].split(",")
        if len(ids) > MOST_IDS:
            raise bad("ids[]", f"at most {MOST_IDS} ids, got {len(ids)}")
        found = [self._files[each] for each in ids if each in self._files]
        own = [data for owner, data in found if owner == call.workspace]
        return json_answer({"data": own, "has_more": False, "next_page": None})

    def _delete(self, call: Call, file_id: str) -> Answer:
        self._get(file_id, call.workspace)
        del self._files[file_id]
        return json_answer({"id": file_id, "type": "file_deleted"})

    def _content(self, call: Call, file_id: str) -> Answer:
        self._get(file_id, call.workspace)
        raise APIError(
            400,
            f"{file_id} is not downloadable; only files that a tool has made are",
            error_code="file_not_downloadable",
        )


def _start(page: str | None) -> int:
    if page is None:
        return 0
    if not re.fullmatch(r"page_\d{1,9}", page):
        raise bad("page", f"{page!r} is no cursor of this list")
    return int(page.removeprefix("page_"))


def _uploaded(request: Request) -> tuple[str, str, int]:
    """Name, media type and size of the file in a multipart body."""
    content_type, data = request.headers.get("content-type", ""), request.body
    if not content_type.startswith("multipart/form-data"):
        raise APIError(400, "a file is uploaded as multipart/form-data with the field `file`")
    whole = message_from_bytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + data)
    for part in whole.walk():
        if part.get_param("name", header="content-disposition") == "file":
            name, content = part.get_filename() or "", part.get_payload(decode=True)
            if not NAME.match(name):
                raise bad("file", f"invalid filename {name[:60]!r}: 1 to 255 characters, no paths")
            size = len(content) if isinstance(content, bytes) else 0
            return name, part.get_content_type(), size
    raise bad("file", "Field required")


def _named(body: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The files that a request's images, documents and uploads to a container name."""
    for path, block in media_of(body):
        source = block.get("source")
        if isinstance(source, Mapping) and source.get("type") == "file":
            yield path, source["file_id"], block["type"]
    for n, message in enumerate(body["messages"]):
        for m, block in enumerate(blocks_of(message)):
            if block["type"] == "container_upload":
                yield f"messages.{n}.content.{m}", block["file_id"], block["type"]
