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

from patterns.quality.calls import InvalidInput
from patterns.quality.clusters import cluster_answers, cluster_answers_async
from patterns.quality.consistency import self_consistent, self_consistent_async
from patterns.quality.decomposition import decompose_and_synthesize, decompose_and_synthesize_async
from patterns.quality.losses import AllLost, Unfinished
from patterns.quality.personas import Persona, multi_persona, multi_persona_async
from patterns.quality.refinement import refine, refine_async
from patterns.quality.vote import Vote, vote

__all__ = [
    "AllLost",
    "InvalidInput",
    "Persona",
    "Unfinished",
    "Vote",
    "cluster_answers",
    "cluster_answers_async",
    "decompose_and_synthesize",
    "decompose_and_synthesize_async",
    "multi_persona",
    "multi_persona_async",
    "refine",
    "refine_async",
    "self_consistent",
    "self_consistent_async",
    "vote",
]
