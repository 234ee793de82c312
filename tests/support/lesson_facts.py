"""Numbers in the chapters' prose that no cell computes, each with its source."""

EXTERNAL: dict[str, dict[str, str]] = {
    "00_start_here": {
        "2025": "anthropics/courses at f4dbb13: git log -1; git grep -l claude-3 -- tool_use",
        "12": "git grep -lF 'content[0].text' -- 'prompt_engineering_*/Anthropic 1P/*.ipynb'",
        "13": "the notebooks in that folder",
        "100000": "Haiku: https://platform.claude.com/docs/en/about-claude/pricing; a batch: "
        "https://platform.claude.com/docs/en/build-with-claude/batch-processing",
        "408": "anthropic, _base_client._should_retry",
        "409": "anthropic, _base_client._should_retry",
        "500": "anthropic, _base_client._should_retry",
    },
    "04_monitoring": {"204": "the number of a made-up customer"},
}

CONVERTED: frozenset[str] = frozenset(
    {
        "00_start_here",
        "04_monitoring",
        "05_prompting",
        "06_response_quality",
        "07_prompt_caching",
    }
)
"""Chapters that are held to `tests/lessons`."""
