"""Several agents on one goal: a plan, eager scheduling, balanced pools, durable runs.

For work whose parts differ in skill or can run side by side. One agent with tools is cheaper
and simpler whenever the parts need each other's every word: measure that first. Chapter 3
teaches it.

Copy single files instead when you need less: `plan`, `balancer` and `scheduler` stand without the
rest.
"""
