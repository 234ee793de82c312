"""`/v1/files`: upload, name in a request, list, delete."""

from typing import Any

import anthropic
import pytest

from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI, VirtualClock
from patterns.fake_api.wire.http import Request


@pytest.fixture
def client() -> anthropic.Anthropic:
    """A client of its own fake."""
    return FakeAPI(clock=VirtualClock()).client(max_retries=0)


def ask(client: anthropic.Anthropic, kind: str, file_id: str) -> object:
    """A request that names a file."""
    block: Any = {"type": kind, "source": {"type": "file", "file_id": file_id}}
    content = [block, {"type": "text", "text": "What is it?"}]
    messages: Any = [{"role": "user", "content": content}]
    return client.messages.create(model=SONNET, max_tokens=9, messages=messages)


def test_an_uploaded_file_can_be_named_in_a_request(client: anthropic.Anthropic) -> None:
    """Its type has to fit the block."""
    file = client.files.upload(file=("a.pdf", b"%PDF-1.7", "application/pdf"))
    assert (file.filename, file.mime_type, file.size_bytes) == ("a.pdf", "application/pdf", 8)
    assert file.downloadable is False
    assert ask(client, "document", file.id)
    with pytest.raises(anthropic.BadRequestError, match="application/pdf does not fit"):
        ask(client, "image", file.id)
    with pytest.raises(anthropic.NotFoundError, match="File not found: file_other"):
        ask(client, "document", "file_other")


def test_files_are_listed_newest_first_page_by_page(client: anthropic.Anthropic) -> None:
    """The SDK's own paging walks over all of them."""
    made = [client.files.upload(file=(f"{n}.txt", b"x", "text/plain")).id for n in range(5)]
    listed = client.files.list(limit=2)
    assert [file.id for file in listed.data] == made[:2:-1]
    assert [file.id for file in listed] == made[::-1]
    assert client.files.retrieve_metadata(made[0]).filename == "0.txt"
    with pytest.raises(anthropic.BadRequestError, match="no cursor"):
        client.files.list(page="page_x")


def test_known_files_are_looked_up_by_id(client: anthropic.Anthropic) -> None:
    """On one page, without those that are not there; a page or a limit does not go with it."""
    made = [client.files.upload(file=(f"{n}.txt", b"x", "text/plain")).id for n in range(3)]
    listed = client.files.list(ids=[made[2], "file_other", made[0]])
    assert [file.id for file in listed.data] == [made[2], made[0]]
    with pytest.raises(anthropic.BadRequestError, match="cannot be combined"):
        client.files.list(ids=made, limit=2)
    with pytest.raises(anthropic.BadRequestError, match="at most 100"):
        client.files.list(ids=[f"file_{n}" for n in range(101)])


def test_a_deleted_file_is_gone(client: anthropic.Anthropic) -> None:
    """And nothing that was uploaded can be downloaded."""
    file = client.files.upload(file=("a.txt", b"x", "text/plain"))
    with pytest.raises(anthropic.BadRequestError, match="not downloadable") as caught:
        client.files.download(file.id)
    body: Any = caught.value.body
    assert body["error"]["details"]["error_code"] == "file_not_downloadable"
    assert client.files.delete(file.id).id == file.id
    with pytest.raises(anthropic.NotFoundError):
        client.files.retrieve_metadata(file.id)


def test_another_workspace_does_not_see_it() -> None:
    """Files belong to a workspace."""
    api = FakeAPI()
    file = api.client(api_key="a").files.upload(file=("a.txt", b"x", "text/plain"))
    assert list(api.client(api_key="b").files.list()) == []
    with pytest.raises(anthropic.NotFoundError):
        api.client(api_key="b").files.retrieve_metadata(file.id)


@pytest.mark.parametrize("name", ["a/b.txt", "a?.txt", "x" * 256, "a:b"])
def test_a_bad_filename_is_refused(client: anthropic.Anthropic, name: str) -> None:
    """1 to 255 characters, none that a path or a shell would read."""
    with pytest.raises(anthropic.BadRequestError, match="invalid filename"):
        client.files.upload(file=(name, b"x", "text/plain"))


def test_an_upload_is_multipart_with_a_file(client: anthropic.Anthropic) -> None:
    """JSON is none, and neither is another field."""
    with pytest.raises(anthropic.BadRequestError, match="multipart/form-data"):
        client.post("/v1/files", body={"file": "x"}, cast_to=object)
    body = b'--b\r\ncontent-disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n'
    headers = {
        "content-type": "multipart/form-data; boundary=b",
        "x-api-key": "k",
        "anthropic-version": "2023-06-01",
    }
    answer = FakeAPI().handle(Request("POST", "/v1/files", {}, headers, body))
    assert (answer.status, b"file: Field required" in bytes(answer.body)) == (400, True)  # type: ignore[arg-type]
