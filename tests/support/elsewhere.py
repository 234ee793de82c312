"""Run commands as a stranger would: no module of this checkout in sight."""

import os
import subprocess
from pathlib import Path


def call(*command: str, cwd: Path, **environment: str) -> str:
    """Run a command that sees no module of the caller's; what it said, whole, if it failed."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,  # of a registry that hangs
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
