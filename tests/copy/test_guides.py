"""Whoever comes from one of two widely read guides finds each of its functions here, working."""

from pathlib import Path

import pytest
from chapters import ROOT

from patterns.copy.index import pattern
from patterns.fake_api import FakeAPI

MASTER_GUIDE = """
EnterpriseClaudeClient executeWithSecurityContext validateSecurityPolicy checkRateLimit
sanitizeForLogging validateResponse containsPII detectMaliciousContent hasPermission AuditLogger
logRequest logResponse logError initializeRateLimiting MCPMessage AdvancedMCPHandler
handle_bidirectional_communication execute_mcp_tool send_tool_result validate_tool_result
get_or_create_session MCPSession get_message_history MultiAgentCoordinator processComplexTask
decomposeTask optimizeAgentAssignment getCapableAgents selectOptimalAgent calculatePriority
identifyDependencies topologicalSort executeWithCoordination getReadyTasks
handleExecutionFailure shareContext synthesizeResults ClaudeProductionMonitor setup_metrics
monitor_request track_business_metrics calculate_cost assess_response_quality
track_user_interaction generate_insights analyze_cost_patterns analyze_performance_trends
analyze_usage_patterns generate_recommendations
"""
"""Classes and functions of "Claude Sonnet 4 Implementation Patterns Complete Master Guide"."""
ADVANCED_PATTERNS = """
chain_of_thought structured_cot extract_tag few_shot_classification expert_response
get_structured_output CachedAssistant get_cache_stats cached_conversation_with_context
create_batch wait_for_batch process_prompts_parallel self_consistent_answer iterative_refinement
decompose_and_synthesize build_dynamic_system_prompt multi_persona_analysis
"""
"""Those of the chapter "Advanced Patterns" in Awesome Code Docs' tutorial on the API."""
NAMES = f"{MASTER_GUIDE}{ADVANCED_PATTERNS}".split()
LED_TO = {name: pattern(name).name for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_guide_stands_in_the_readme(name: str) -> None:
    """Under the pattern that does today what the function was for."""
    assert f"**{LED_TO[name]}**" in (ROOT / "README.md").read_text("utf-8")
    assert name in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", sorted(set(LED_TO.values())))
def test_the_pattern_that_it_leads_to_runs(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its lines of use, with the clients that they expect."""
    monkeypatch.chdir(tmp_path)
    api = FakeAPI()
    clients = {"client": api.client(), "async_client": api.async_client()}
    exec(pattern(name).use, {"__name__": "__main__", **clients})
    assert capsys.readouterr().out.strip()
