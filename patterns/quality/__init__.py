"""Better answers from several calls, each with its price: vote, refine, decompose, personas.

Every pattern is one function with a `client` first and an `_async` twin; what it returns keeps
the calls it took and their cost, and what was lost on the way. Try one call with a higher effort
first: it is the baseline that each of these has to beat.

| File | For |
|---|---|
| consistency, vote, clusters | the same question several times, and the most frequent answer |
| refinement | write, judge against a rubric, rewrite, keep the best |
| decomposition | parts of a task side by side, and their synthesis |
| personas | several points of view on a topic, and where they differ |
| accuracy | what voting can gain and what it costs, computed |

Needs: pip install genai-prices. Taught in chapter 06.
"""

from patterns.quality.accuracy import (
    Gain,
    Odds,
    Strategy,
    early_stop_cost,
    gain,
    majority_accuracy,
    plurality_accuracy,
    subset_odds,
    voting,
)
from patterns.quality.asking import Settings
from patterns.quality.billing import AllLost, Billed, Call, InvalidInput, Lost, Unfinished
from patterns.quality.clusters import Clustering, cluster_answers, cluster_answers_async
from patterns.quality.consistency import self_consistent, self_consistent_async
from patterns.quality.decomposition import (
    SubTask,
    Synthesis,
    decompose_and_synthesize,
    decompose_and_synthesize_async,
)
from patterns.quality.personas import (
    Disagreement,
    Panel,
    Persona,
    Position,
    multi_persona,
    multi_persona_async,
)
from patterns.quality.refinement import Critique, Refinement, Round, refine, refine_async
from patterns.quality.vote import Vote, plain, same, still_needed, vote

__all__ = [
    "AllLost",
    "Billed",
    "Call",
    "Clustering",
    "Critique",
    "Disagreement",
    "Gain",
    "InvalidInput",
    "Lost",
    "Odds",
    "Panel",
    "Persona",
    "Position",
    "Refinement",
    "Round",
    "Settings",
    "Strategy",
    "SubTask",
    "Synthesis",
    "Unfinished",
    "Vote",
    "cluster_answers",
    "cluster_answers_async",
    "decompose_and_synthesize",
    "decompose_and_synthesize_async",
    "early_stop_cost",
    "gain",
    "majority_accuracy",
    "multi_persona",
    "multi_persona_async",
    "plain",
    "plurality_accuracy",
    "refine",
    "refine_async",
    "same",
    "self_consistent",
    "self_consistent_async",
    "still_needed",
    "subset_odds",
    "vote",
    "voting",
]
