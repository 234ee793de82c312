"""Scripts of replies: TOML files that say what the fake API answers to which request.

A script is a list of `[[reply]]` tables. The first whose match keys all fit answers.

    [[reply]]
    contains = "capital of France"        # match keys, all optional
    text = "Paris."                       # the answer

    [[reply]]
    contains = ["Classify", "refund"]     # a list: every one of them
    schema = "label"
    jsons = [{ label = "billing" }, { label = "other" }]

    [[reply]]
    after_tool_result = true
    thinking = "The tool says 21 degrees."
    text = "It is 21 °C in Oslo."

    [[reply]]
    contains = "weather"
    tools = "get_weather"
    tool_use = [{ name = "get_weather", input = { city = "Oslo" } }]

    [[reply]]
    contains = "busy"
    times = 1                             # only for the first request that fits
    status = 529

Match keys: a string, or a list of strings that must all be there
- `contains`: in the text of the last user turn (tool results included)
- `anywhere`: in any string of the request, system prompt and tools included
- `system`: in the system prompt
- `model`: the model's id
- `path`: the request's path; `/v1/messages/batches` for the items of a batch
- `schema`: properties of the output schema, or its title
- `tools`: names of tools that the request offers
- `after_tool_result`: true when the last user turn holds a tool result, false when it holds none;
  or strings that stand in such a result
- `turn`: a number: how many user turns the conversation has

Answers: exactly one of
- `text`, or `texts` for several: equal requests get them in turn, then from the start again
- `json`, or `jsons` for several: sent as compact JSON text
- `tool_use`: a list of `{ name, input, id? }`, which may stand beside `text`
- `refusal`: a policy category, which may stand beside `text`
- `content`: a list of raw content blocks
- `status`: an error, with `error` (its type), `message`, `retry_after`, `error_code`
and with any message `thinking`, `stop_reason`, `output_tokens`; with any answer `seconds` and
`times` (how many requests the entry answers at most) and `name` (what the journal calls it).

Taught in chapter 00.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from patterns.core.errors import Portable
from patterns.fake_api.scripting.matching import Seen, test_of
from patterns.fake_api.scripting.replies import Error, Reply, ToolUse

MATCH_KEYS: Final = (
    "contains",
    "anywhere",
    "system",
    "model",
    "path",
    "schema",
    "tools",
    "after_tool_result",
    "turn",
)
ANSWER_KEYS: Final = (
    "text",
    "texts",
    "json",
    "jsons",
    "tool_use",
    "refusal",
    "content",
    "status",
    "stop_reason",
)
MESSAGE_KEYS: Final = ("thinking", "stop_reason", "output_tokens")
ERROR_KEYS: Final = ("error", "message", "retry_after", "error_code")
OTHER_KEYS: Final = ("seconds", "times", "name")
KEYS: Final = frozenset((*MATCH_KEYS, *ANSWER_KEYS, *MESSAGE_KEYS, *ERROR_KEYS, *OTHER_KEYS))
TOGETHER: Final = (
    {"text", "tool_use"},
    {"text", "refusal"},
    {"text", "stop_reason"},
    {"json", "stop_reason"},
    {"texts", "stop_reason"},
    {"jsons", "stop_reason"},
    {"content", "stop_reason"},
    {"tool_use", "stop_reason"},
    {"text", "tool_use", "stop_reason"},
)
"""Answer keys that may stand in one entry."""


class BadReplies(Portable, ValueError):
    """A script that cannot be used.

    Attributes:
        path: the file.
        entry: which `[[reply]]`, from 1; 0 for the file as a whole.
        key: the key at fault, or None.
    """

    def __init__(self, path: str, entry: int, key: str | None, problem: str) -> None:
        self.path, self.entry, self.key = path, entry, key
        where = f", [[reply]] {entry}" if entry else ""
        what = f", key '{key}'" if key else ""
        super().__init__(f"{path}{where}{what}: {problem}")


@dataclass(frozen=True)
class Scripted:
    """One `[[reply]]` of a script."""

    name: str
    match: Mapping[str, Any]
    answers: tuple[Reply | Error, ...]
    times: int | None = None

    @cached_property
    def _tests(self) -> tuple[Callable[[Seen], bool], ...]:
        return tuple(test_of(key, self.match[key]) for key in MATCH_KEYS if key in self.match)

    def fits(self, seen: Seen) -> bool:
        """Whether every match key fits the request."""
        return all(test(seen) for test in self._tests)


@dataclass(frozen=True)
class Replies:
    """A script: entries in the order in which they are tried."""

    entries: tuple[Scripted, ...]

    @classmethod
    def load(cls, path: Path | str) -> "Replies":
        """Read a script.

        Raises:
            BadReplies: the file is missing, no TOML, or an entry makes no sense; the message
                names file, entry and key.
        """
        path = Path(path)
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadReplies(path.name, 0, None, f"cannot be read ({error.strerror})") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadReplies(path.name, 0, None, f"is not TOML: {error}") from None
        return cls.of(data, name=path.name)

    @classmethod
    def of(cls, data: Mapping[str, Any], *, name: str = "replies") -> "Replies":
        """A script from what its TOML parses to: `{"reply": [{...}, ...]}`."""
        if unknown := set(data) - {"reply"}:
            raise BadReplies(name, 0, min(unknown), "unknown; a script holds [[reply]] tables")
        tables = data.get("reply", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise BadReplies(name, 0, "reply", "must be tables, each opened by [[reply]]")
        return cls(tuple(_entry(name, n, table) for n, table in enumerate(tables, 1)))


def _entry(file: str, number: int, table: Mapping[str, Any]) -> Scripted:
    """One checked entry."""
    for key in table:
        if key not in KEYS:
            raise BadReplies(file, number, key, f"unknown; known are {', '.join(sorted(KEYS))}")
    for key, value in table.items():
        if problem := _problem(key, value):
            raise BadReplies(file, number, key, problem)
    _check_answer_keys(file, number, table)
    try:
        answers = tuple(_answers(table))
    except (TypeError, ValueError) as error:
        raise BadReplies(file, number, None, str(error)) from None
    match = {key: table[key] for key in MATCH_KEYS if key in table}
    name = table.get("name", f"{file}[{number}]")
    return Scripted(name, match, answers, table.get("times"))


def _check_answer_keys(file: str, number: int, table: Mapping[str, Any]) -> None:
    given = {key for key in ANSWER_KEYS if key in table}
    if len(given) != 1 and given not in TOGETHER:
        said = f"has {', '.join(sorted(given))}" if given else "has no answer"
        raise BadReplies(file, number, None, f"{said}; give one of {', '.join(ANSWER_KEYS)}")
    misplaced = MESSAGE_KEYS if "status" in given else ERROR_KEYS
    for key in misplaced:
        if key in table:
            kind = "an error (status)" if "status" in given else "a message"
            raise BadReplies(file, number, key, f"does not go with {kind}")


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _problem(key: str, value: object) -> str | None:
    """What is wrong with a key's value, or None."""
    shown = f"got {value!r}"[:80]
    match key:
        case "texts":
            good, want = _is_strings(value), "a list of strings"
        case "jsons":
            good, want = isinstance(value, list) and bool(value), "a list of values"
        case "json":
            good, want = True, ""
        case "tool_use" | "content":
            good = isinstance(value, list) and all(isinstance(part, dict) for part in value)
            want = "a list of tables"
        case "after_tool_result":
            good = isinstance(value, bool | str) or _is_strings(value)
            want = "true, false, a string or a list of strings"
        case "turn" | "times":
            good, want = _is_count(value), "a whole number from 1"
        case "status":
            good, want = isinstance(value, int) and 400 <= value <= 599, "400 to 599"
        case "retry_after" | "seconds" | "output_tokens":
            good, want = _is_number(value), "a number"
        case _ if key in MATCH_KEYS:
            good = isinstance(value, str) or _is_strings(value)
            want = "a string or a list of strings"
        case _:
            good, want = isinstance(value, str), "a string"
    return None if good else f"must be {want}, {shown}"


def _answers(table: Mapping[str, Any]) -> Iterator[Reply | Error]:
    """The answers of an entry, one per equal request."""
    if "status" in table:
        yield Error(
            table["status"],
            table.get("error"),
            table.get("message"),
            table.get("retry_after"),
            table.get("error_code"),
            seconds=table.get("seconds"),
        )
        return
    shared = {key: table[key] for key in (*MESSAGE_KEYS, "seconds") if key in table}
    if "texts" in table:
        yield from (Reply(text, **shared) for text in table["texts"])
    elif "jsons" in table:
        yield from (Reply(json=value, **shared) for value in table["jsons"])
    else:
        yield Reply(
            table.get("text"),
            json=table.get("json"),
            tool_use=[ToolUse(**call) for call in table.get("tool_use", ())],
            refusal=table.get("refusal"),
            content=table.get("content"),
            **shared,
        )
