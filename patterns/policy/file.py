"""The guarded chain out of one TOML file, which whoever runs the service can read and review.

    [[rules]]                   # as `Rule`
    role = "staff"
    model = "claude-haiku-*"
    max_tokens = 1_000

    [limits]                    # as `Limits`, for each principal
    rpm = 60

    [screening]                 # as `ContentPolicy`: by origin, and observe or enforce
    on_hit = { tool = "flag" }
    mode = "observe"

    [privacy]                   # as `PIIMiddleware`
    on_input = "vault"
    allow = ["@example.com"]

Taught in chapter 01.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Literal, TypeVar

from anthropic import Anthropic, AsyncAnthropic
from pydantic import BaseModel, ConfigDict, ValidationError

from patterns.core.errors import Portable
from patterns.core.pricing import cost_usd
from patterns.policy.audit_writer import AuditWriter
from patterns.policy.authorization import Rule
from patterns.policy.guard import guarded, per_principal
from patterns.policy.privacy import PIIMiddleware
from patterns.policy.rate_limit import Limits, RateLimit, Store
from patterns.policy.redaction import Strategy
from patterns.policy.screening import TRUST, ContentPolicy, OnHit
from patterns.policy.texts import Origin
from patterns.policy.vault import Vault

Client = TypeVar("Client", Anthropic, AsyncAnthropic)
Mode = Literal["observe", "enforce"]


class BadPolicy(Portable, ValueError):
    """The file cannot be used; the message names file, line, field and what is allowed.

    Attributes:
        line: where, counted from 1.
    """

    def __init__(self, path: Path, line: int, problem: str) -> None:
        self.line = line
        super().__init__(f"{path.name}, line {line}: {problem}")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Screening(_Table):
    on_hit: dict[Origin, OnHit] = {}
    mode: Mode = "enforce"


class _Privacy(_Table):
    on_input: Strategy = "redact"
    allow: list[str] = []
    mode: Mode = "enforce"


class PolicyFile(_Table):
    """What a file says; see `load`. What it leaves out has the default of its policy."""

    rules: list[Rule]
    limits: Limits | None = None
    screening: _Screening = _Screening()
    privacy: _Privacy = _Privacy()

    def guarded(
        self,
        client: Client,
        *,
        log: AuditWriter,
        user_key: str | bytes,
        store: Store | None = None,
        vault: Vault | None = None,
    ) -> Client:
        """`client` inside the chain. To reload, load and guard again with the same log, store and
        vault: levels, owners and conversations stay."""
        limits = self.limits and RateLimit(self.limits, store, key=per_principal, price=cost_usd)
        screening = {**TRUST, **self.screening.on_hit}
        return guarded(
            client,
            log=log,
            user_key=user_key,
            rules=self.rules,
            content=ContentPolicy(on_hit=screening, mode=self.screening.mode),
            privacy=PIIMiddleware(**dict(self.privacy), vault=vault),
            limits=limits,
        )


def load(path: str | Path) -> PolicyFile:
    """Read and check a policy file.

    Raises:
        BadPolicy: it is no TOML, or says something that no policy understands.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadPolicy(path, line, "this is no UTF-8; save the file as that") from None
    try:
        return PolicyFile.model_validate_json(json.dumps(tomllib.loads(text), default=str))
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else len(text.splitlines())
        raise BadPolicy(path, line, str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise BadPolicy(path, _line(text, first["loc"]), f"{field}: {first['msg']}") from None


def _line(text: str, where: tuple[int | str, ...]) -> int:
    """The line of a field, or of the nearest table or key that holds it."""
    names = [str(part) for part in where if isinstance(part, str)]
    index = where[1] if len(where) > 1 and isinstance(where[1], int) else 0
    key = re.compile(rf"\s*(?:{'|'.join(map(re.escape, names))})\s*=")
    best, inside, count = 1, False, -1
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([\w.]+)\s*\]", line):
            inside = header[1].split(".")[0] == names[0]
            count += inside
        if inside and count == index and (header or key.match(line)):
            best = number
    return best
