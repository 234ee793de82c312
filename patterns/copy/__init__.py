"""Take a pattern home: copy it, with all that it imports, into a package of yours.

    python -m patterns.copy --list
    python -m patterns.copy vote rate-limit --into myapp/claude

The files are yours afterwards; `--diff` says later what you changed and what changed here.
"""
