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
    "01_auth_and_policy": {
        "2104": "RFC 2104, HMAC",
        "8192": "premise of the exercise",
        "12340": "premise of the exercise",
    },
    "02_mcp": {
        "400": "platform.claude.com/docs/en/api/errors: invalid_request_error",
        "429": "RFC 6585, section 4: Too Many Requests",
        "503": "RFC 9110, section 15.6.4: Service Unavailable",
        "50000": "patterns/mcp_session/results.py: DEFAULT_RESULT_LIMIT",
    },
    "03_multi_agent": {
        "12": "minutes of the optional section",
        "17": "a ticket's id in the exercise",
        "204": "a customer's id in the exercise",
        "64": "an example: any number of calls at once",
        "429": "https://platform.claude.com/docs/en/api/errors",
        "600": "exercises.multi_agent.fleet: its defaults, tasks and requests a minute",
    },
    "04_monitoring": {"204": "the number of a made-up customer"},
    "08_batching": {
        "100000": "Batches API documentation: requests in a batch",
        "256": "Batches API documentation: megabytes in a batch",
        "29": "Batches API documentation: days that results are kept",
        "24": "Batches API documentation: hours until a batch expires",
        "64": "Batches API documentation: characters of a custom_id",
        "30": "Batches API documentation: lowest hit rate in batches, %",
        "98": "Batches API documentation: highest hit rate in batches, %",
        "32": "hexadecimal digits of 128 bits: more than a birthday reaches",
        "60000": "reached by the widget; tests/batching/test_chapter.py drives it there",
        "0.1": "reached by the widget; tests/batching/test_chapter.py drives it there",
        "2024": "the Cookbook's notebook: its outputs are of 2024-10-08",
    },
    "09_putting_it_together": {
        "200": "servers.day: KINDS, the tickets of a day",
        "40": "servers.day: OVERLOAD, minutes",
        "529": "https://platform.claude.com/docs/en/api/errors",
        "429": "https://platform.claude.com/docs/en/api/errors",
        "00": "servers.day: OVERLOAD and DEPLOYMENT, on the hour",
        "99": "patterns.course.views.monitoring: OBJECTIVE in per cent",
        "14.4": "patterns.monitoring.slo: POLICIES",
    },
}

CONVERTED: frozenset[str] = frozenset(
    {
        "00_start_here",
        "01_auth_and_policy",
        "02_mcp",
        "03_multi_agent",
        "04_monitoring",
        "05_prompting",
        "06_response_quality",
        "07_prompt_caching",
        "08_batching",
        "09_putting_it_together",
    }
)
"""Chapters that are held to `tests/lessons`."""
