"""What production traffic to Claude does and costs: one record per call, in the sinks you choose.

`calls` makes the records; `prometheus`, `json_log`, `dogstatsd` and `event_log` keep them;
`summary`, `insights`, `calibration` and `slo` read them; `ops/` holds what Prometheus and Grafana
load. Chapter 4 teaches all of it. Not for debugging one answer: no prompt and no reply passes.
"""
