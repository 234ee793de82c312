"""A working fake of the Messages API, for recordings without a key, for load and faults, and for
your own test suite.

The real SDK talks to it in process (`FakeAPI().client()`) or over a loopback socket
(`python -m patterns.fake_api --port 0`). What it takes and refuses follows the SDK's own types and
a dated table of models, and is held to sourced facts about the real API (`tests/evidence`). What a
model would say it does not know: replies come from a script, a queue, or an echo that says it is
one. Not a measure of any model, and no proof that the API takes a request.

What is simplified, so that you do not rely on it:

- token counts are an estimate (`tokens`), latency is a model of yours (`latency`)
- all of an answer's output is charged to the rate limit when it begins (`limits`)
- with no latency, an answer begins at once, so a cold call in parallel finds the cache warm: give
  a `Latency` where that matters (`cache`)
- a batch's requests finish evenly over its time (`batches`)
- context edits are checked and never triggered, tools of the API are never run, and
  a replayed thinking block is compared with itself, not with the conversation around it
- of federation, what no source tells is chosen and named (`sign_in`)
- skills are an empty list; organisations, agents and the like are not there (404)

    from patterns.fake_api import FakeAPI, Reply

    api = FakeAPI()
    api.enqueue("Paris.", Reply(refusal="bio"))
    client = api.client()                 # the real anthropic.Anthropic
    client.messages.create(...)
    assert api.journal[0].body["model"] == "claude-sonnet-5-5"

Taught in chapter 00.
"""

from patterns.fake_api.api import FakeAPI
from patterns.fake_api.clock import Clock, RealClock, VirtualClock
from patterns.fake_api.federation import FederationRule
from patterns.fake_api.journal import Entry
from patterns.fake_api.latency import Latency
from patterns.fake_api.limits import RateLimits
from patterns.fake_api.scripting.faults import Fault
from patterns.fake_api.scripting.replies import Error, Reply, ToolUse
from patterns.fake_api.scripting.scripts import BadReplies, Replies

__all__ = [
    "BadReplies",
    "Clock",
    "Entry",
    "Error",
    "FakeAPI",
    "Fault",
    "FederationRule",
    "Latency",
    "RateLimits",
    "RealClock",
    "Replies",
    "Reply",
    "ToolUse",
    "VirtualClock",
]
