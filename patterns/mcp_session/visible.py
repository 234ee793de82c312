"""Text of strangers before it reaches a model: what a person cannot see is written out.

Zero-width characters, direction marks and Unicode tags hide instructions in descriptions that look
harmless in every editor. They are shown as `<U+200B>`, so that neither side is fooled.
"""

import re

_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ue000-\uf8ff]"
)
_HIDDEN_TEXT = re.compile("[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def shown(text: str) -> str:
    """A description: every invisible character written out."""
    return _INVISIBLE.sub(_name, _encodable(text))


def data(text: str) -> str:
    """A result: only what hides text or turns it round is written out, the rest may matter."""
    return _HIDDEN_TEXT.sub(_name, _encodable(text))


def _name(found: re.Match[str]) -> str:
    return f"<U+{ord(found[0]):04X}>"


def _encodable(text: str) -> str:
    """Half a surrogate pair cannot be sent at all."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
