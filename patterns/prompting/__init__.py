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

from patterns.prompting.labels import Example, few_shot_classify, few_shot_classify_async
from patterns.prompting.reasoning import chain_of_thought, chain_of_thought_async
from patterns.prompting.roles import expert, expert_async
from patterns.prompting.structured import InvalidOutput, SchemaRefused, structured, structured_async
from patterns.prompting.system_prompt import UserContext, build_system_prompt

__all__ = [
    "Example",
    "InvalidOutput",
    "SchemaRefused",
    "UserContext",
    "build_system_prompt",
    "chain_of_thought",
    "chain_of_thought_async",
    "expert",
    "expert_async",
    "few_shot_classify",
    "few_shot_classify_async",
    "structured",
    "structured_async",
]
