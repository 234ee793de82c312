"""XML tags in both directions: text that cannot leave its tag, and the one content of a tag.

Taught in chapter 05.
"""

import html
import re
from collections.abc import Iterator, Sequence

from patterns.core.errors import Portable, checked_text

_NAME = re.compile(r"[A-Za-z_][\w.-]*\Z")


def tag(name: str, text: str, /, **attributes: str | int | float) -> str:
    """`text` inside an XML tag, escaped so that it cannot close the tag or open another.

    Escaping keeps untrusted text in its place; it gives that text no less authority over the
    model. Attribute values are escaped too.

    Raises:
        ValueError: the name, or that of an attribute, is not a plain XML name.
        NotText: the text is none.
    """
    checked_text("text", text)
    for each in (name, *attributes):
        if not _NAME.match(checked_text("name", each)):
            raise ValueError(f"{each!r} is not an XML name; use letters, digits, '_', '-' and '.'.")
    opened = "".join(f' {key}="{html.escape(str(value))}"' for key, value in attributes.items())
    return f"<{name}{opened}>\n{html.escape(text, quote=False)}\n</{name}>"


class AmbiguousTag(Portable, ValueError):
    """A text with several different contents for one tag: nobody can say which one is meant.

    Attributes:
        name: of the tag.
        found: the contents, in order.
    """

    def __init__(self, name: str, found: Sequence[str]) -> None:
        self.name, self.found = name, tuple(found)
        shown = ", ".join(repr(each[:40]) for each in found)
        super().__init__(
            f"<{name}> stands there {len(found)} times with different contents ({shown}); "
            "ask for it once, or for structured output."
        )


def read_tag(text: str, name: str) -> str | None:
    """The one content of `<name>…</name>`, stripped; None if there is no such pair.

    The tag counts where it is used, not where it is spoken of: what is in a comment, in quotes or
    left open does not count, and what is empty or in code only where there is nothing else.

    Raises:
        AmbiguousTag: there are several, with different contents.
        NotText: `text` or `name` is none.
    """
    pairs = list(_pairs(checked_text("answer", text), checked_text("name", name)))
    quoted = [match.span() for match in _CODE.finditer(text)] if len(pairs) > 1 else []
    outside = [each for at, each in pairs if not any(start < at < end for start, end in quoted)]
    found = outside or [each for _, each in pairs]
    says = [each for each in found if any(sign.isalnum() for sign in each)]  # not "…"
    meant = list(dict.fromkeys(says or found))
    if len(meant) > 1:
        raise AmbiguousTag(name, meant)
    return meant[0] if meant else None


_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_ATTRIBUTES = r"""(?:\s(?:[^<>"']|"[^"]*"|'[^']*')*)?"""


_ASIDES = {"<!--": "-->", "<![CDATA[": "]]>"}


def _pairs(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Where each innermost pair begins, and its content."""
    one = re.escape(name)
    aside = "|".join(map(re.escape, (*_ASIDES, *_ASIDES.values())))
    token = re.compile(rf"{aside}|<{one}{_ATTRIBUTES}/?>|</{one}\s*>", re.DOTALL)
    last = {ends: text.rfind(ends) for ends in _ASIDES.values()}
    opened: re.Match[str] | None = None
    inside: str | None = None  # what ends the comment or the CDATA section
    for match in token.finditer(text):
        if inside:
            inside = None if match[0] == inside else inside
        elif ends := _ASIDES.get(match[0]):
            inside = ends if match.start() < last[ends] else None
        elif match[0] in last or _is_quoted(text, *match.span()):
            continue
        elif match[0].startswith("</"):
            if opened:
                yield opened.start(), _plain_content(text[opened.end() : match.start()].strip())
            opened = None
        else:
            opened = None if match[0].endswith("/>") else match


def _plain_content(content: str) -> str:
    """What a CDATA section says, where the content is one; else the content."""
    inner = content.removeprefix("<![CDATA[").removesuffix("]]>")
    return inner.strip() if len(content) - len(inner) == 12 and "]]>" not in inner else content


def _is_quoted(text: str, start: int, end: int) -> bool:
    """Whether the same mark of quotation stands on both sides."""
    before, after = text[start - 1 : start], text[end : end + 1]
    return before != "" and (before + after) in ("``", '""', "''", "“”", "‘’", "«»", "„“")
