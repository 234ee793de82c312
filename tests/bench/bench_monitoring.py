"""CPU per call of the monitor with all its sinks, beside other ways of watching the same calls.

Every candidate sends the same call to the same mocked transport. Compared is CPU time per call,
the bare SDK being 1. Then one million rows are summarised in a process of its own.
"""

import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import logfire
from harness import interleaved, write_results
from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, Counter, Histogram

from patterns.core.models import SONNET
from patterns.course.synthetic import week
from patterns.monitoring.calls import CallMonitor
from patterns.monitoring.event_log import EventLog
from patterns.monitoring.insights import insights
from patterns.monitoring.json_log import JsonLog
from patterns.monitoring.prometheus import PrometheusSink
from patterns.monitoring.summary import summarize

USAGE = {
    "input_tokens": 40,
    "output_tokens": 20,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 6_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "service_tier": "standard",
    "inference_geo": "global",
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": SONNET,
    "content": [{"type": "text", "text": "Four."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}
MILLION = 1_000_000


class Nowhere(SpanExporter):
    """Takes spans and drops them."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class CountAttempts(anthropic.Middleware):
    """The usual first idea: two Prometheus metrics in a middleware."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.requests = Counter("requests_total", "Requests.", ["status"], registry=registry)
        self.seconds = Histogram("seconds", "Time.", registry=registry)

    def handle(self, request: Any, call_next: Any) -> Any:
        began = time.perf_counter()
        response = call_next(request)
        self.seconds.observe(time.perf_counter() - began)
        self.requests.labels(response.status_code).inc()
        return response


def client(**options: Any) -> anthropic.Anthropic:
    """A real client on the mocked transport."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=MESSAGE, headers={"request-id": "req_1"})

    http_client = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(api_key="test", http_client=http_client, **options)


def call(it: anthropic.Anthropic) -> Callable[[], object]:
    """One call of it."""
    turns: Any = [{"role": "user", "content": "What is 2 + 2?"}]
    return lambda: it.messages.create(model=SONNET, max_tokens=64, messages=turns)


def provider() -> TracerProvider:
    """Spans that are made, finished and dropped."""
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(Nowhere()))
    return made


def candidates(folder: Path) -> dict[str, Callable[[], object]]:
    """Each way of watching, as a call without arguments."""
    logger = logging.getLogger("bench.calls")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(logging.FileHandler(folder / "calls.jsonl"))
    prometheus_only = CallMonitor(PrometheusSink())
    everything = CallMonitor(
        PrometheusSink(), EventLog(folder / "calls.db"), JsonLog(logger), features={"chat"}
    )
    return {
        "bare SDK": call(client(open_telemetry=False)),
        "Prometheus middleware": call(client(open_telemetry=False, middleware=[CountAttempts()])),
        "SDK tracing": call(client(open_telemetry={"tracer_provider": provider()})),
        "CallMonitor, no sink": call(client(**CallMonitor().client_options())),
        "CallMonitor, Prometheus": call(client(**prometheus_only.client_options())),
        "CallMonitor, all sinks": call(client(**everything.client_options())),
    }


def per_call(folder: Path) -> dict[str, float]:
    """CPU microseconds per call.

    Logfire and OpenLLMetry patch the SDK, so each is measured after the clean candidates, beside
    a bare call of its own run, and its ratio carried over.
    """
    ways = candidates(folder)
    results = cpu_of(ways, rounds=25)
    bare = results["bare SDK"]
    watched = client(open_telemetry=False)
    logfire.configure(send_to_logfire=False, console=False, inspect_arguments=False)
    logfire.instrument_anthropic(watched)
    pair = cpu_of({"bare SDK": ways["bare SDK"], "logfire": call(watched)})
    results["logfire"] = pair["logfire"] / pair["bare SDK"] * bare
    before = cpu_of({"bare SDK": ways["bare SDK"]})
    metrics = MeterProvider(metric_readers=[InMemoryMetricReader()])
    AnthropicInstrumentor().instrument(tracer_provider=provider(), meter_provider=metrics)
    after = cpu_of({"OpenLLMetry": call(client(open_telemetry=False))})
    results["OpenLLMetry"] = after["OpenLLMetry"] / before["bare SDK"] * bare
    return results


def cpu_of(ways: dict[str, Callable[[], object]], rounds: int = 15) -> dict[str, float]:
    """Median CPU microseconds per call, in turns."""
    times = interleaved(ways, rounds=rounds, calls=40, timer=time.process_time)
    return {name: seconds * 1e6 for name, seconds in times.items()}


def fill(path: Path) -> None:
    """A million synthetic calls, a week repeated week after week."""
    log, one = EventLog(path), week(scale=2.0)
    rows = 0
    while rows < MILLION:
        log.extend(one[: MILLION - rows])
        rows += len(one)
    log.close()


def summary_of(path: str) -> None:
    """What the million say, with the time and memory it took: run in a process of its own."""
    log = EventLog(path)
    began, cpu = time.perf_counter(), time.process_time()
    summary = summarize(log)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, cpu = time.perf_counter(), time.process_time()
    found = insights(log)
    figures = {
        "calls": summary.total.calls,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "peak_mb": round(peak),
        "insights": len(found),
        "insights_seconds": round(time.perf_counter() - began, 2),
        "insights_cpu": round(time.process_time() - cpu, 2),
    }
    print(json.dumps(figures))


def main() -> None:
    """Measure, print, keep."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cpu = per_call(folder)
        fill(folder / "million.db")
        command = [sys.executable, __file__, str(folder / "million.db")]
        million = json.loads(subprocess.check_output(command, text=True))
    ratios = {way: round(value / cpu["bare SDK"], 2) for way, value in cpu.items()}
    figures = {
        "cpu_us_per_call": {way: round(value) for way, value in cpu.items()},
        "cpu_ratio_to_bare_sdk": ratios,
        "summary_of_a_million": million,
    }
    targets = {
        "all sinks: at most 1.9 times the CPU of the bare SDK": ratios["CallMonitor, all sinks"]
        <= 1.9,
        "... and at most 0.9 of OpenLLMetry in the same run": cpu["CallMonitor, all sinks"]
        <= 0.9 * cpu["OpenLLMetry"],
        "a million events summarised in at most 5 s": million["seconds"] <= 5.0,
        "... and in at most 300 MB": million["peak_mb"] <= 300,
        "... and their insights found in at most 3 s of CPU": million["insights_cpu"] <= 3.0,
    }
    packages = ["anthropic", "opentelemetry-sdk", "prometheus-client", "logfire"]
    packages.append("opentelemetry-instrumentation-anthropic")
    write_results("monitoring", figures, packages=packages, targets=targets)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        summary_of(sys.argv[1])
    else:
        main()
