"""What production traffic to Claude does and costs: one record per call, in the sinks you choose.

`calls` makes the records; `prometheus`, `json_log`, `dogstatsd` and `event_log` keep them;
`summary`, `insights`, `calibration` and `slo` read them; `ops/` holds what Prometheus and Grafana
load. Chapter 4 teaches all of it. Not for debugging one answer: no prompt and no reply passes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patterns.monitoring.calls import CallMonitor
    from patterns.monitoring.dogstatsd import DogStatsDSink
    from patterns.monitoring.event_log import EventLog
    from patterns.monitoring.json_log import JsonLog
    from patterns.monitoring.prometheus import PrometheusSink
    from patterns.monitoring.record import CallRecord, InvalidLabel, call_context
    from patterns.monitoring.sink import Memory, Sink
    from patterns.monitoring.slo import burn_rate
    from patterns.monitoring.summary import summarize

__all__ = [
    "CallMonitor",
    "CallRecord",
    "DogStatsDSink",
    "EventLog",
    "InvalidLabel",
    "JsonLog",
    "Memory",
    "PrometheusSink",
    "Sink",
    "burn_rate",
    "call_context",
    "summarize",
]

# Imported when asked for: a JSON log needs no Prometheus client.
_MODULES = {
    "CallMonitor": "calls",
    "CallRecord": "record",
    "DogStatsDSink": "dogstatsd",
    "EventLog": "event_log",
    "InvalidLabel": "record",
    "JsonLog": "json_log",
    "Memory": "sink",
    "PrometheusSink": "prometheus",
    "Sink": "sink",
    "burn_rate": "slo",
    "call_context": "record",
    "summarize": "summary",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
