"""Run the fake API on a free loopback port: `python -m patterns.fake_api --port 0`.

Prints the base URL as its first line and serves until it is interrupted.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence

from patterns.fake_api.api import FakeAPI
from patterns.fake_api.latency import Latency
from patterns.fake_api.limits import RateLimits
from patterns.fake_api.scripting.faults import Fault
from patterns.fake_api.scripting.scripts import BadReplies


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parse = argparse.ArgumentParser("python -m patterns.fake_api", description=__doc__)
    parse.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parse.add_argument("--replies", metavar="FILE", help="script of replies (TOML)")
    parse.add_argument("--strict", action="store_true", help="400 instead of an echo")
    parse.add_argument("--key", action="append", help="accept only this credential (repeatable)")
    parse.add_argument("--rpm", type=int, help="requests per minute")
    parse.add_argument("--itpm", type=int, help="uncached input tokens per minute")
    parse.add_argument("--otpm", type=int, help="output tokens per minute")
    parse.add_argument("--first-token", type=float, help="median seconds to the first token")
    parse.add_argument("--tokens-per-second", type=float, help="median speed of writing")
    parse.add_argument("--batch-seconds", type=float, default=600.0, help="how long a batch takes")
    parse.add_argument("--overload", type=int, default=0, metavar="N", help="529 for the first N")
    parse.add_argument("--seed", type=int, default=0)
    return parse


def api_of(options: argparse.Namespace) -> FakeAPI:
    """The fake API that the options describe.

    Raises:
        BadReplies: the script cannot be used.
        ValueError: an option's value makes no sense.
    """
    limits = {name: getattr(options, name) for name in ("rpm", "itpm", "otpm")}
    limits = {name: value for name, value in limits.items() if value is not None}
    latency = {
        name: getattr(options, name)
        for name in ("first_token", "tokens_per_second")
        if getattr(options, name) is not None
    }
    return FakeAPI(
        replies=options.replies,
        strict=options.strict,
        keys=options.key,
        limits=RateLimits(**limits) if limits else None,
        latency=Latency(**latency) if latency else None,
        batch_seconds=options.batch_seconds,
        faults=[Fault.status(529, times=options.overload)] if options.overload else (),
        seed=options.seed,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; 2 for options that cannot be used."""
    options = parser().parse_args(arguments)
    try:
        from patterns.fake_api.wire.server import listen, server_of, url_of

        api = api_of(options)
        listener = listen(options.port)
    except ImportError as error:
        return _fail(f"{error.name} is missing; install the extra: pip install .[fake-api]")
    except (BadReplies, ValueError, OSError, OverflowError) as error:
        return _fail(str(error))
    with listener, contextlib.suppress(KeyboardInterrupt):
        sys.stdout.write(f"{url_of(listener)}\n")
        sys.stdout.flush()
        server_of(api).run([listener])
    return 0


def _fail(problem: str) -> int:
    sys.stderr.write(f"patterns.fake_api: {problem}\n")
    return 2


if __name__ == "__main__":  # pragma: no cover - tests call main()
    sys.exit(main())
