"""How errors look in a notebook: the message, and no wall of library code above it.

Taught in chapter 00.
"""

import sys
import textwrap
from types import TracebackType
from typing import Any, Final

BARE: Final = frozenset(("builtins", "__main__"))
"""Where errors come from that say too little without their traceback."""


def show_errors_short() -> None:
    """In a notebook, show the typed errors of this course and of libraries as one short message.

    The line of the cell is named. Python's own errors and those of a reader's own classes keep
    their traceback. Does nothing elsewhere.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        shell.set_custom_exc((Exception,), _show)


def _show(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
    tb_offset: int | None = None,
) -> list[str]:
    lines: list[str]
    if hasattr(error, "_render_traceback_"):
        lines = error._render_traceback_()
    elif kind.__module__ not in BARE:
        where = f" (line {trace.tb_next.tb_lineno} of this cell)" if trace and trace.tb_next else ""
        lines = [f"{kind.__name__}: {textwrap.shorten(str(error), 400)}{where}"]
    else:
        lines = shell.InteractiveTB.structured_traceback(kind, error, trace, tb_offset=tb_offset)
    shell._showtraceback(kind, error, lines)
    return lines
