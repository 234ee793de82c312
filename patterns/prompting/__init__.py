"""Prompts that hold up in production, one file each.

Every one is a function around one call: what never changes comes first, what others wrote goes
out escaped, the stop reason is read before the text, and a frozen result keeps the usage. Use
them when a prompt runs many times and code depends on the answer. A question that you ask once
needs none of it: write it plainly and read it with `text_of`.

| File | For |
|---|---|
| reasoning | an answer with steps that a reader can check |
| labels | sorting texts under labels, from definitions and examples |
| measure | accuracy, confusion, and whether a difference is chance |
| roles | free text in a role, for an audience, within rules |
| system_prompt | a system prompt that adapts and still caches |

Taught in chapter 05.
"""

from patterns.prompting.labels import (
    Classified,
    Example,
    UnknownLabel,
    classifier_prompt,
    few_shot_classify,
    few_shot_classify_async,
    label_model,
)
from patterns.prompting.measure import accuracy, by_chance, confusion
from patterns.prompting.reasoning import (
    SECTIONS,
    MissingSection,
    Reasoned,
    chain_of_thought,
    chain_of_thought_async,
    read_sections,
)
from patterns.prompting.roles import CANDOUR, Answer, expert, expert_async, role_prompt
from patterns.prompting.system_prompt import Level, NaiveTime, UserContext, build_system_prompt

__all__ = [
    "CANDOUR",
    "SECTIONS",
    "Answer",
    "Classified",
    "Example",
    "Level",
    "MissingSection",
    "NaiveTime",
    "Reasoned",
    "UnknownLabel",
    "UserContext",
    "accuracy",
    "build_system_prompt",
    "by_chance",
    "chain_of_thought",
    "chain_of_thought_async",
    "classifier_prompt",
    "confusion",
    "expert",
    "expert_async",
    "few_shot_classify",
    "few_shot_classify_async",
    "label_model",
    "read_sections",
    "role_prompt",
]
