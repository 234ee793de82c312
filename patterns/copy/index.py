"""The patterns that are worth taking home, each with the problem that it solves.

One declaration, `index.toml` beside this file: `--list`, the README's table and the tests that copy
each pattern out read it.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from patterns.copy.closure import PACKAGE, closure, code_lines, needs, requirement, source_of
from patterns.core.errors import Portable

INDEX: Final = Path(__file__).with_name("index.toml")


class UnknownPattern(Portable, LookupError):
    """There is no pattern of this name.

    Attributes:
        name: what was asked for.
        close: names that look like it.
    """

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.close = name, tuple(difflib.get_close_matches(name, known, cutoff=0.4))
        meant = f"did you mean {' or '.join(self.close)}? " if self.close else ""
        super().__init__(f"no pattern {name!r}; {meant}`--list` shows all {len(known)}.")


@dataclass(frozen=True)
class Pattern:
    """A pattern as it can be taken home.

    Attributes:
        name: what `python -m patterns.copy` calls it.
        problem: what it is for, in the words of someone who has that problem.
        modules: where its public names are.
        use: lines that use it, with imports from `patterns`; `client` and `async_client` exist.
        chapter: stem of the notebook that teaches it.
        section: heading of that notebook, without the signs.
        data: files that travel along, by their path in the package.
        extras: distributions that only functions import and that `use` needs.
        also: what other guides call it; `pattern` knows these names too.
    """

    name: str
    problem: str
    modules: tuple[str, ...]
    use: str
    chapter: str
    section: str = ""
    data: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @cached_property
    def files(self) -> list[Path]:
        """The modules that come along, by their path in the package."""
        return closure(f"{PACKAGE}.{module}" for module in self.modules)

    @cached_property
    def lines(self) -> int:
        """Lines of code that come along."""
        return sum(code_lines(source_of(path)) for path in self.files)

    @property
    def requirements(self) -> list[str]:
        """What to install for it, with versions."""
        used = ["anthropic"] if self.clients else []
        return sorted(requirement(name) for name in {*needs(self.files), *self.extras, *used})

    @property
    def optional(self) -> list[str]:
        """What some of its functions need besides, with versions."""
        found = set(needs(self.files, optional=True)) - set(self.extras)
        return sorted(requirement(name) for name in found)

    @property
    def clients(self) -> list[str]:
        """The lines that make the clients that `use` expects."""
        kinds = {"client": "Anthropic", "async_client": "AsyncAnthropic"}
        return [
            f"{name} = anthropic.{kind}()"
            for name, kind in kinds.items()
            if re.search(rf"\b{name}\b(?! = |=)", self.use) and f"{name} = " not in self.use
        ]

    def usage(self, package: str) -> str:
        """The lines of use, with imports from `package` in place of ours, and the client made."""
        head = ["import anthropic", "", *self.clients, ""] if self.clients else []
        return "\n".join([*head, self.use.replace(f"from {PACKAGE}.", f"from {package}.").strip()])


@cache
def patterns() -> dict[str, Pattern]:
    """All patterns by name, in the order of the chapters."""
    declared = tomllib.loads(INDEX.read_text("utf-8"))
    return {name: _declared(name, entry) for name, entry in declared.items()}


def _declared(name: str, entry: Mapping[str, Any]) -> Pattern:
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value.strip()
        for key, value in entry.items()
    }
    return Pattern(name, **fields)


def pattern(name: str) -> Pattern:
    """One pattern, by its name or one that another guide has for it.

    Raises:
        UnknownPattern: there is none of that name.
    """
    found = patterns().get(name) or next((p for p in patterns().values() if name in p.also), None)
    if found is None:
        raise UnknownPattern(name, list(patterns()))
    return found
