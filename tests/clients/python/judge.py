"""Runs one client against a base URL and prints what came out of each of its functions.

    python judge.py litellm http://127.0.0.1:8080

Each client is a module `with_NAME` here, whose functions take the URL: what this calls is
what its own documentation shows. An error is an outcome as well.
"""

import importlib
import json
import sys
import traceback
from typing import Any

KINDS = ("plain", "streamed", "tools", "structured")
MODEL = "claude-sonnet-5-5"
FORCED = "claude-haiku-5-5"  # accepts a forced tool, as Sonnet 5.5 does not
HELLO = "Say hello."
ASK = "How warm is it in Oslo?"
READ = "Read: Oslo, 21 degrees."
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}


def get_weather(city: str) -> str:
    """The weather in a city."""
    return {"Oslo": "21 degrees"}[city]


def outcome(client: Any, kind: str, url: str) -> Any:
    """What a function returns, or how it ended."""
    try:
        return getattr(client, kind)(url)
    except Exception:
        return {"error": traceback.format_exc(limit=-4)}


if __name__ == "__main__":
    name, url = sys.argv[1:]
    client = importlib.import_module(f"with_{name}")
    sys.stdout.write(json.dumps({kind: outcome(client, kind, url) for kind in KINDS}) + "\n")
