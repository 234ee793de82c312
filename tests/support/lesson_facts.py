"""Numbers in the chapters' prose that no cell computes, each with its source."""

EXTERNAL: dict[str, dict[str, str]] = {}

CONVERTED: frozenset[str] = frozenset(
    {
        "05_prompting",
        "06_response_quality",
        "07_prompt_caching",
    }
)
"""Chapters that are held to `tests/lessons`."""
