"""Every text that a request or an answer carries: where it stands, who wrote it, what it is called.

A policy that looks at one place only is passed by using another. So one walk gives them all:
system, turns, tool results, documents, tool input, dictionary keys, numbers. With each comes its
origin, since your own system prompt deserves another trust than a web page in a tool result, and
its label, since `{"ssn": "123456789"}` says what a checksum cannot.

Taught in chapter 01.
"""

import datetime
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from secrets import token_bytes
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar, get_args

from patterns.policy.flow import PolicyDenied

T = TypeVar("T")
Json = Mapping[str, Any]
Origin = Literal["system", "user", "assistant", "tool", "document"]
ORIGINS: Final[tuple[Origin, ...]] = get_args(Origin)
_OBJECT: Final = (dict, Mapping)
"""Asking for the abstract class alone is five times as slow, and every body is asked often."""
_LIST: Final = (list, tuple)


@dataclass(frozen=True, slots=True)
class Key:
    """A step of a path: not the value under a dictionary key, but the key itself."""

    name: str


Path = tuple[str | int | Key, ...]

SEALED: Final = frozenset(("thinking", "redacted_thinking", "thinking_delta"))
"""Blocks that must go back to the API as they came: a changed one breaks its signature."""
FIXED: Final = frozenset(("name", "id", "custom_id", "tool_use_id", "user_id"))
"""Fields that hold names: they are looked at, and cannot be rewritten without breaking the call."""
_NOT_TEXT: Final = frozenset(
    ("type", "role", "model", "media_type", "stop_reason", "cache_control", "authorization_token")
) | frozenset(("file_id", "signature", "encrypted_content", "encrypted_index"))
_CONTENT: Final = ("system", "content")
_FREE_FORM: Final = frozenset(("input", "input_schema", "metadata", "output_config"))
_DOCUMENTS: Final = ("document", "search_result")
_LONG_NUMBER: Final = 10**6


class NotReadable(PolicyDenied):
    """The request is not what policies can read, so none can allow it."""

    rule, status = "unreadable-body", 400


class Slot(NamedTuple):
    """One string or long number of a request.

    Attributes:
        path: where it stands.
        text: what it says; a number as its digits.
        origin: who wrote it.
        label: the keys it stands under in free-form data.
        kind: `text`, `number`, `key` (a dictionary's key), or `fixed` (a name that must stay).
    """

    path: Path
    text: str
    origin: Origin = "user"
    label: str = ""
    kind: Literal["text", "number", "key", "fixed"] = "text"


Run = list[Slot]
"""Strings that the model reads as one text: neighbouring text blocks and turns of one role."""


class Texts:
    """All texts of a body, in the order in which the API reads them, and what is attached.

    Attributes:
        runs: the texts, grouped as the model reads them.
        images, documents: how many are attached.
        files: ids of files that are named.
        tools: what turns add to the list of tools.

    Raises:
        NotReadable: a value that is no JSON, which a scan would pass unseen.
    """

    def __init__(self, body: Json) -> None:
        self.images = self.documents = 0
        self.files: list[str] = []
        self.tools: list[Any] = []
        self.runs: list[Run] = []
        last = sorted(body, key=lambda key: (key == "messages", key == "system"))
        try:
            self._mapping({key: body[key] for key in last}, (), "system")
        except RecursionError:
            raise NotReadable("the body is nested too deep to be read; send less of it.") from None
        self.runs = [run for run in self.runs if run]

    @cached_property
    def joined(self) -> list[str]:
        """The text of each run."""
        return [joined(run) for run in self.runs]

    def _new_run(self) -> Run:
        self.runs.append([])
        return self.runs[-1]

    def _add(
        self, path: Path, text: str, origin: Origin, label: str = "", kind: Any = "text"
    ) -> None:
        if text:
            self.runs.append([Slot(path, text, origin, label, kind)])

    def _turns(self, turns: Any, path: Path) -> None:
        role, run = None, self._new_run()
        for index, turn in enumerate(turns):
            if not isinstance(turn, _OBJECT):
                raise NotReadable(f"turn {index} is {type(turn).__name__}, not an object; fix it.")
            if turn.get("role") != role:
                role, run = turn.get("role"), self._new_run()
            origin: Origin = role if role in ("assistant", "system") else "user"
            self._content(turn.get("content"), (*path, index, "content"), run, origin)
            rest = {key: value for key, value in turn.items() if key not in ("role", "content")}
            self._mapping(rest, (*path, index), origin)

    def _content(self, value: Any, path: Path, run: Run, origin: Origin) -> None:
        if isinstance(value, str):
            run.append(Slot(path, value, origin))
        elif isinstance(value, _LIST):
            for index, block in enumerate(value):
                self._block(block, (*path, index), run, origin)
        else:
            self._any(value, path, origin)

    def _block(self, block: Any, path: Path, run: Run, origin: Origin) -> None:
        is_text = isinstance(block, _OBJECT) and block.get("type") == "text"
        if is_text and isinstance(block.get("text"), str):
            run.append(Slot((*path, "text"), block["text"], origin))
            block = {name: value for name, value in block.items() if name != "text"}
        self._any(block, path, origin)

    def _any(
        self, value: Any, path: Path, origin: Origin, label: str = "", *, free: bool = False
    ) -> None:
        if isinstance(value, str):
            self._add(path, value, origin, label)
        elif isinstance(value, bool) or value is None:
            return
        elif isinstance(value, int):
            if abs(value) >= _LONG_NUMBER:
                self._add(path, str(value), origin, label, "number")
        elif isinstance(value, _LIST):
            for index, item in enumerate(value):
                self._any(item, (*path, index), origin, label, free=free)
        elif isinstance(value, _OBJECT):
            self._free(value, path, origin, label) if free else self._mapping(value, path, origin)
        elif not isinstance(value, float | datetime.date):
            raise NotReadable(
                f"{path[-1]!r} holds a {type(value).__name__}, which no policy can read; "
                "send plain JSON."
            )

    def _free(self, value: Json, path: Path, origin: Origin, label: str) -> None:
        for key, item in value.items():
            if not isinstance(key, str):
                raise NotReadable(f"{key!r} is a key and no string; send plain JSON.")
            if len(key) > 5:
                self._add((*path, Key(key)), key, origin, kind="key")
            inner = f"{label[-40:]} {key}" if label else key
            self._any(item, (*path, key), origin, inner, free=True)

    def _mapping(self, value: Json, path: Path, origin: Origin) -> None:
        kind = value.get("type")
        if isinstance(kind, str):
            if kind in SEALED:
                return
            origin = self._typed(value, kind, origin)
        for key, item in value.items():
            if key == "messages" and isinstance(item, _LIST):
                self._turns(item, (*path, key))
            elif key in _CONTENT:
                self._content(item, (*path, key), self._new_run(), origin)
            elif key in FIXED and isinstance(item, str):
                self._add((*path, key), item, origin, kind="fixed")
            elif key not in _NOT_TEXT and not (key == "data" and kind == "base64"):
                self._any(item, (*path, key), origin, free=key in _FREE_FORM)

    def _typed(self, value: Json, kind: str, origin: Origin) -> Origin:
        self.images += kind == "image"
        self.documents += kind == "document"
        if isinstance(value.get("file_id"), str):
            self.files.append(value["file_id"])
        if kind == "tool_addition":
            self.tools.append(value.get("tool"))
        if kind.endswith("tool_result"):
            return "tool"
        if kind in _DOCUMENTS and origin == "user":
            return "document"
        return origin


def named(value: Any, *keys: str) -> Iterator[tuple[str, Any]]:
    """What stands under one of the keys anywhere in a JSON value, with its key."""
    todo = [value]
    while todo:
        found = todo.pop()
        if isinstance(found, _OBJECT):
            yield from ((key, item) for key, item in found.items() if key in keys)
            todo += found.values()
        elif isinstance(found, _LIST):
            todo += found


def read_json(text: str | bytes) -> Any:
    """The JSON value of a text.

    Raises:
        ValueError: it is none, or nested deeper than can be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from None


def joined(run: Run) -> str:
    """The text of a run."""
    return "".join([slot.text for slot in run])


class Remembered(Generic[T]):
    """What was found in a text, kept for the next turn, which sends the history again.

    Of the text itself only a keyed digest is kept.

    Args:
        find: what finds it; equal texts must give equal results.
        most: texts and findings kept, together.
    """

    def __init__(self, find: Callable[[str], list[T]], most: int = 50_000) -> None:
        self._find, self._most, self._key = find, most, token_bytes()
        self._known: dict[bytes, list[T]] = {}
        self._left = most

    def __call__(self, text: str) -> list[T]:
        """What is found in `text`; not to be changed."""
        raw = text.encode("utf-8", "surrogatepass")
        key = blake2b(raw, key=self._key).digest()
        found = self._known.get(key)
        if found is None:
            found = self._find(text)
            if self._left < 0:
                self._known, self._left = {}, self._most
            self._known[key] = found
            self._left -= 1 + len(found)
        return found


def texts_of(body: Json) -> list[Run]:
    """Every text of a body."""
    return Texts(body).runs


def edited(body: Json, edits: Mapping[Path, Any]) -> dict[str, Any]:
    """A copy of `body` with other values at some paths; what is not on a path is shared."""
    fresh: dict[str, Any] = dict(body)
    copies: dict[Path, Any] = {}
    renamed: list[tuple[Any, str, Any]] = []
    for path, value in edits.items():
        node: Any = fresh
        for depth, step in enumerate(path[:-1], start=1):
            if path[:depth] not in copies:
                child = node[step]
                copies[path[:depth]] = dict(child) if isinstance(child, _OBJECT) else list(child)
                node[step] = copies[path[:depth]]
            node = copies[path[:depth]]
        last = path[-1]
        if isinstance(last, Key):
            renamed.append((node, last.name, value))
        else:
            node[last] = value
    for node, old, new in reversed(renamed):
        items = [(new if key == old else key, value) for key, value in node.items()]
        node.clear()
        node.update(items)
    return fresh
