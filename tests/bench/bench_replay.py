"""Replay beside vcrpy: what a recording costs a call, from 10 to 5,000 recordings.

Replay's own cost is that of its transport alone, on a request that the SDK has built. vcrpy has no
such seam: its own cost is that of a whole call less that of a bare one on a mocked transport. All
in CPU time, interleaved.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import vcr
from anthropic import Anthropic
from harness import interleaved, write_results

from patterns.core.models import SONNET
from patterns.course.recordings import Exchange, Recording, Source
from patterns.course.replay import ReplayTransport

SIZES = (10, 100, 1_000, 5_000)
VCR_SIZES = (10, 100, 1_000)
HEADERS = {"content-type": "application/json"}
PROMPT = "Summarise paragraph {} of the report in one sentence. " + "Context. " * 100


def ask(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": PROMPT.format(number)}]
    return {"model": SONNET, "max_tokens": 100, "messages": messages}


def answer(number: int) -> dict[str, Any]:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": SONNET,
        "content": [{"type": "text", "text": f"Sentence {number}."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 120, "output_tokens": 6},
    }


def caller(client: Anthropic, number: int) -> Callable[[], Any]:
    return lambda: client.messages.create(**ask(number))


def transport_of(size: int) -> ReplayTransport:
    exchanges = tuple(
        Exchange("POST", "/v1/messages", ask(n), 200, HEADERS, {"json": answer(n)}, 1)
        for n in range(size)
    )
    source = Source("authored", "2026-11-21", "2.12.0", "fake_api")
    return ReplayTransport(Recording(Path("bench.json"), source, exchanges))


def alone(size: int) -> Callable[[], Any]:
    """The transport by itself: match, answer, and read the answer."""
    transport = transport_of(size)
    body = json.dumps(ask(size // 2), separators=(",", ":"), ensure_ascii=False)
    url = "https://api.anthropic.com/v1/messages"
    return lambda: transport.handle_request(httpx2.Request("POST", url, content=body)).read()


def replaying(size: int) -> Callable[[], Any]:
    http = httpx2.Client(transport=transport_of(size))
    return caller(Anthropic(api_key="replay", http_client=http), size // 2)


def bare() -> Callable[[], Any]:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=answer(0)))
    client = Anthropic(api_key="replay", http_client=httpx2.Client(transport=transport))
    return caller(client, 0)


def interaction(number: int) -> dict[str, Any]:
    """One exchange as a vcrpy cassette holds it."""
    return {
        "request": {
            "method": "POST",
            "uri": "https://api.anthropic.com/v1/messages",
            "body": json.dumps(ask(number), separators=(",", ":"), ensure_ascii=False),
            "headers": {"content-type": ["application/json"]},
        },
        "response": {
            "status": {"code": 200, "message": "OK"},
            "headers": {"content-type": ["application/json"]},
            "body": {"string": json.dumps(answer(number))},
        },
    }


@contextmanager
def cassette(size: int, folder: Path) -> Iterator[Callable[[], Any]]:
    """A call answered by vcrpy, matched on method, path and body, while the context lasts."""
    path = folder / f"{size}.json"
    text = json.dumps({"version": 1, "interactions": [interaction(n) for n in range(size)]})
    path.write_text(text, "utf-8")
    recorder = vcr.VCR(serializer="json", record_mode="none", match_on=["method", "path", "body"])
    with recorder.use_cassette(str(path), allow_playback_repeats=True):
        yield caller(Anthropic(api_key="replay", max_retries=0), size // 2)


def main() -> None:
    """Measure the transport alone, then whole calls beside vcrpy, a size at a time."""
    own = interleaved(
        {str(size): alone(size) for size in SIZES}, rounds=25, calls=200, timer=time.process_time
    )
    whole = interleaved(
        {"bare": bare(), **{f"replay {size}": replaying(size) for size in SIZES}},
        rounds=15,
        calls=40,
        timer=time.process_time,
    )
    figures: dict[str, Any] = {
        "transport alone, microseconds": {n: round(1e6 * each, 1) for n, each in own.items()},
        "transport alone, 5,000 against 10": round(own["5000"] / own["10"], 2),
        "whole call, milliseconds": {name: round(1000 * each, 3) for name, each in whole.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        for size in VCR_SIZES:
            with cassette(size, Path(folder)) as peer:
                pair = {"vcrpy": peer, "replay": replaying(size)}
                calls = 1 if size > 100 else 5
                measured = interleaved(pair, rounds=9, calls=calls, timer=time.process_time)
            adds = measured["vcrpy"] - whole["bare"]
            figures[f"vcrpy {size}"] = {
                "whole call, milliseconds": round(1000 * measured["vcrpy"], 2),
                "whole call, times replay's": round(measured["vcrpy"] / measured["replay"], 1),
                "own cost, times replay's": round(adds / own[str(size)], 1),
            }
    write_results(
        "replay",
        figures,
        packages=("anthropic", "httpx2", "vcrpy"),
        targets={
            "replay's own cost is flat (5,000 against 10: at most 1.3 times)": own["5000"]
            <= 1.3 * own["10"],
            "own cost at 100: vcrpy's is at least 40 times replay's": figures["vcrpy 100"][
                "own cost, times replay's"
            ]
            >= 40,
        },
    )


if __name__ == "__main__":
    main()
