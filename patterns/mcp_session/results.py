"""What a server returns, as content that the Messages API takes and Claude can read.

For: tool results of any MCP server, with or without a session; `prompts` has the same for resources
and prompts. Nothing is
lost in silence: what does not fit or cannot be shown is said in a sentence. One budget holds for a
whole result, whatever it is made of.
"""

import json
from collections.abc import Iterable
from typing import Any, Final, cast

from anthropic.types.beta.beta_tool_result_block_param import Content
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from patterns.mcp_session.media import as_text, bare, decoded, image_type, is_pdf
from patterns.mcp_session.visible import data as visible

DEFAULT_RESULT_LIMIT: Final = 50_000
MOST_FILES: Final = 20
"""Images and PDFs of one result; above 20 images a request, the API wants smaller ones."""

MOST_BYTES: Final = 20_000_000
"""Base64 of all files of one result; a request may have 32 MB."""

BLOCK_COST: Final = 20
"""Characters that a block costs besides its text, so that a million empty ones do not fit."""

LONGEST_LABEL: Final = 300
PDF: Final = "application/pdf"


def as_claude_content(
    result: CallToolResult, *, limit: int = DEFAULT_RESULT_LIMIT
) -> list[Content]:
    """A tool result as content blocks.

    Text keeps its words, embedded text resources their URI and type, and structured content is
    added as JSON where the text does not say the same. Images and PDFs are checked; links, audio
    and what Claude cannot read are described. An error always says something.

    Args:
        result: What the tool returned.
        limit: Most characters of all blocks together; what is cut off is said to be.
    """
    items: list[Any] = list(result.content)
    if result.structured_content is not None and not _says_the_same(result):
        told = json.dumps(result.structured_content, ensure_ascii=False, default=str)
        items.append(TextContent(type="text", text=told))
    # The API takes nothing but text in an error, and no error without any.
    blocks = claude_blocks(items, limit=limit, only_text=bool(result.is_error))
    return blocks or ([_text("The tool failed and did not say why.")] if result.is_error else [])


def claude_blocks(
    items: Iterable[Any], *, limit: int = DEFAULT_RESULT_LIMIT, only_text: bool = False
) -> list[Content]:
    """Any contents of MCP as blocks, under one budget; files are described if `only_text`."""
    budget = _Budget(limit, files=0 if only_text else MOST_FILES)
    blocks = [*budget.blocks(items), *budget.notice()]
    return [_as_text(block) for block in blocks] if only_text else blocks


class _Budget:
    """What is left for one result."""

    def __init__(self, limit: int, files: int) -> None:
        self.limit = self.left = limit
        self.files, self.bytes = files, MOST_BYTES
        self.dropped = 0

    def blocks(self, items: Iterable[Any]) -> list[Content]:
        return [block for item in items for block in self._block(item)]

    def notice(self) -> list[Content]:
        """How many blocks did not fit at all."""
        if not self.dropped:
            return []
        return [_text(f"[{self.dropped:,} more blocks not shown: ask for less at a time]")]

    def text(self, text: str, how: str = "it is a description only") -> list[Content]:
        """A text block; nothing for blank text, which the API refuses."""
        kept = self._cut(text, how)
        return [_text(kept)] if kept.strip() else []

    def _cut(self, text: str, how: str) -> str:
        if not text.strip():
            return ""
        text = visible(text)
        room = self.left - BLOCK_COST if self.left < self.limit else self.left
        self.left = max(0, room - len(text))
        if room <= 0:
            self.dropped += 1
            return ""
        if len(text) <= room:
            return text
        return f"{text[:room]}\n[cut: {room:,} of {len(text):,} characters shown; {how}]"

    def _block(self, item: Any) -> list[Content]:
        match item:
            case TextContent():
                return self.text(item.text, "ask for less at a time, by a filter or a page")
            case ImageContent():
                drawing = as_text(decoded(item.data)) if "svg" in item.mime_type else None
                if drawing is not None:
                    return self.text(drawing, "ask for a simpler drawing")
                return self._file(item.data, item.mime_type, "image")
            case EmbeddedResource(resource=TextResourceContents() as resource):
                return self._document(resource.text, resource)
            case EmbeddedResource(resource=BlobResourceContents() as resource):
                return self._blob(resource)
        return self.text(_described(item))

    def _document(self, text: str, resource: Any) -> list[Content]:
        uri = _label(str(resource.uri))
        kept = self._cut(text, f"read {uri} for the rest")
        if not kept.strip():
            return self.text(f"[resource at {uri}, empty]") if not text.strip() else []
        source = {"type": "text", "media_type": "text/plain", "data": kept}
        about = {"context": _label(resource.mime_type)} if resource.mime_type else {}
        return [cast(Content, {"type": "document", "source": source, "title": uri, **about})]

    def _blob(self, resource: BlobResourceContents) -> list[Content]:
        kind, raw = resource.mime_type or "", decoded(resource.blob)
        text = None if is_pdf(raw or b"") else as_text(raw)
        if text is not None:
            return self._document(text, resource)
        return self._file(resource.blob, kind, f"resource at {_label(str(resource.uri))}")

    def _file(self, data: str, kind: str, what: str) -> list[Content]:
        """An image or a PDF if Claude can read it and it fits; else what it is."""
        raw = decoded(data)
        media = None if raw is None else image_type(raw) or (PDF if is_pdf(raw) else None)
        fits = self.files > 0 and len(data) <= self.bytes
        if media is None or not fits:
            why = ": too many or too large for one result" if media else ""
            return self.text(f"[{what}, {_label(kind)}, {_size(raw)}, not shown{why}]")
        self.files -= 1
        self.bytes -= len(data)
        source = {"type": "base64", "media_type": media, "data": bare(data)}
        block = "document" if media == PDF else "image"
        return [cast(Content, {"type": block, "source": source})]


def _says_the_same(result: CallToolResult) -> bool:
    """Whether the text already holds the structure, as one JSON text or one per item."""
    texts = [item.text for item in result.content if isinstance(item, TextContent)]
    values: list[Any] = [_json(text) for text in texts]
    wanted = result.structured_content
    alone = values[0] if len(values) == 1 else values
    return any(wanted in (value, {"result": value}) for value in (*values, alone, *texts))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _described(item: Any) -> str:
    if isinstance(item, ResourceLink):
        about = f": {_label(item.description)}" if item.description else ""
        return f"[resource {_label(item.name)!r} at {_label(str(item.uri))}{about}]"
    if isinstance(item, AudioContent):
        return f"[audio, {_label(item.mime_type)}, {_size(decoded(item.data))}, not shown]"
    return f"[{_label(str(getattr(item, 'type', 'content')))}, not shown]"


def _size(raw: bytes | None) -> str:
    return "unreadable bytes" if raw is None else f"{len(raw):,} bytes"


def _label(text: str | None) -> str:
    """A short text of a stranger on one line."""
    line = " ".join((text or "unknown type").split())
    return line if len(line) <= LONGEST_LABEL else f"{line[:LONGEST_LABEL]}…"


def _as_text(block: Any) -> Content:
    """A document as text, where the API takes no documents."""
    if block["type"] != "document":
        return cast(Content, block)
    return _text(f"[resource at {block['title']}]\n{block['source']['data']}")


def _text(text: str) -> Content:
    return {"type": "text", "text": text}
