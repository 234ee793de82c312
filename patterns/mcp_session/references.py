"""References inside a JSON schema."""

from typing import Any, Final

Schema = dict[str, Any]
ORIGINAL: Final = "com.claude-patterns/originalSchema"
"""Where a schema is kept that the protocol itself does not allow."""


def pointer(reference: Any, root: Schema) -> str:
    """A reference inside the document as a JSON pointer; others unchanged."""
    home = root.get("$id")
    return str(reference).removeprefix(home if isinstance(home, str) else "")


def target(root: Schema, pointer: str) -> Any:
    """What a pointer leads to; None if that is no schema of the document."""
    if pointer != "#" and not pointer.startswith("#/"):
        return None
    node: Any = root
    for part in pointer[2:].split("/") if len(pointer) > 2 else ():
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        else:
            return None
    return node if isinstance(node, dict | bool) else None


def resolvable(schema: Any) -> bool:
    """Whether every reference of a schema leads somewhere inside it."""

    def leads(node: Any) -> bool:
        if isinstance(node, list):
            return all(map(leads, node))
        if not isinstance(node, dict):
            return True
        reference = node.get("$ref")
        lost = isinstance(reference, str) and target(schema, pointer(reference, schema)) is None
        return not lost and all(map(leads, node.values()))

    return isinstance(schema, dict) and leads(schema)
