"""`python -m patterns.copy`: the command line."""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from patterns.copy.closure import ROOT, relative, source_of
from patterns.copy.index import Pattern, UnknownPattern, pattern, patterns
from patterns.copy.store import HEADER, CopyError, Lock, changes, write

DESCRIPTION = "Copy a pattern and all that it imports into a package of yours; you own the files."
LICENCE_FILE = "LICENSE.claude-patterns"


def version() -> str:
    """The version of this package, or `unknown` where it is only a folder."""
    try:
        return metadata("claude-patterns")["Version"]
    except PackageNotFoundError:
        return "unknown"


def licence() -> str:
    """The licence's text: from the wheel's metadata, or the checkout."""
    from importlib.metadata import files

    try:
        listed = [each for each in files("claude-patterns") or () if each.name == "LICENSE"]
    except PackageNotFoundError:
        listed = []
    places = [Path(str(each.locate())) for each in listed] + [ROOT.parent / "LICENSE"]
    return next((place.read_text("utf-8") for place in places if place.is_file()), "MIT\n")


def rendered(chosen: Iterable[Pattern]) -> dict[str, str]:
    """Every file that these patterns bring, by its path below the target."""
    found: dict[str, str] = {LICENCE_FILE: licence()}
    for each in chosen:
        for path in each.files:
            head = f"{HEADER}{version()}, patterns/{path.as_posix()}; MIT licence.\n"
            found[path.as_posix()] = head + relative(path)
            for folder in path.parents:
                found[(folder / "__init__.py").as_posix()] = ""
        for name in each.data:
            found[name] = source_of(Path(name))
    return found


def dotted(into: Path) -> str:
    """The name under which a folder is imported from the working directory."""
    at = into.resolve()
    here = Path.cwd()
    parts = at.relative_to(here).parts if at.is_relative_to(here) else at.parts[-1:]
    return ".".join(parts)


def listing(chosen: Mapping[str, Pattern]) -> str:
    """One line a pattern: name, problem, lines of code, files."""
    width = max(map(len, chosen))
    return "\n".join(
        f"{name:<{width}}  {each.problem} ({each.lines} lines in {len(each.files)} files)"
        for name, each in chosen.items()
    )


def shown(each: Pattern, package: str) -> str:
    """All about one pattern: what comes along, what to install, how to use it."""
    pip = " ".join(f'"{need}"' for need in each.requirements)
    parts = [
        f"{each.name}: {each.problem}",
        f"{each.lines} lines of code in {len(each.files)} files: "
        + ", ".join(path.as_posix() for path in each.files),
        *([f"data: {', '.join(each.data)}"] if each.data else []),
        f"pip install {pip}" if pip else "needs nothing but Python",
        *([f"some functions need: {', '.join(each.optional)}"] if each.optional else []),
        f"taught in notebooks/{each.chapter}.ipynb" + (f", {each.section}" if each.section else ""),
        "",
        each.usage(package),
    ]
    return "\n".join(parts)


def copied(names: Sequence[str], into: Path, *, dry: bool, overwrite: bool) -> str:
    """Copy patterns and say what to do next.

    Raises:
        UnknownPattern: a name that is none; nothing was written.
        CopyError: see `patterns.copy.store.write`; nothing was written.
    """
    chosen = [pattern(name) for name in names]
    files = rendered(chosen)
    if dry:
        done = "\n".join(f"would write {file}" for file in sorted(files))
    else:
        own = [each.name for each in chosen]
        written = write(into, files, names=own, version=version(), overwrite=overwrite)
        done = f"{len(written)} files written into {into}, {len(files) - len(written)} as they were"
    return "\n\n".join([done, *(shown(each, dotted(into)) for each in chosen)])


def compared(into: Path) -> tuple[str, int]:
    """What differs from the copies, and an exit code: 1 if anything does.

    Raises:
        CopyError: nothing was ever copied there, or the lock is damaged.
    """
    lock = Lock.load(into)
    if not lock.names:
        raise CopyError(f"{into} has no PATTERNS.lock: copy a pattern there first.")
    known = [patterns()[name] for name in lock.names if name in patterns()]
    found = changes(into, rendered(known))
    parts = [f"copied from {lock.version}, compared with {version()}"]
    parts += [f"no longer here: {name}" for name in lock.names if name not in patterns()]
    for each in found:
        parts += [f"== {each.file}: {each.state}", each.here, each.upstream]
    text = "\n".join(part for part in parts if part)
    return (text if found else f"{text}\nnothing differs"), int(bool(found))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if all went well, 1 for differences, 2 for an error."""
    parser = argparse.ArgumentParser(prog="python -m patterns.copy", description=DESCRIPTION)
    parser.add_argument("names", nargs="*", metavar="NAME", help="patterns, as --list shows them")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="such as myapp/claude")
    parser.add_argument("--list", action="store_true", help="every pattern and its problem")
    parser.add_argument("--show", metavar="NAME", help="what one brings, needs and looks like")
    parser.add_argument("--diff", action="store_true", help="what you and what we changed since")
    parser.add_argument("--dry-run", action="store_true", help="name the files, write none")
    parser.add_argument("--overwrite", action="store_true", help="replace files that you edited")
    given = parser.parse_args(arguments)
    try:
        text, code = _answer(parser, given)
    except (CopyError, UnknownPattern) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{text}\n")
    return code


def _answer(parser: argparse.ArgumentParser, given: argparse.Namespace) -> tuple[str, int]:
    if given.list:
        return listing(patterns()), 0
    if given.show:
        return shown(pattern(given.show), "patterns"), 0
    if given.into is None:
        parser.error("give --into FOLDER, or --list")
    if given.diff:
        return compared(given.into)
    if not given.names:
        parser.error("which patterns? --list shows them")
    options = {"dry": given.dry_run, "overwrite": given.overwrite}
    return copied(given.names, given.into, **options), 0


if __name__ == "__main__":  # pragma: no cover  # main() itself is tested in process
    sys.exit(main())
