"""Clusters: free text becomes labels, and what is no partition is sent back."""

import asyncio

import pytest

from patterns.core.messages import Refused
from patterns.fake_api import FakeAPI, Reply
from patterns.prompting.structured import InvalidOutput
from patterns.quality import InvalidInput, cluster_answers, cluster_answers_async, vote
from patterns.quality.prices import cost_of

ANSWERS = ["Approve it.", "Do not approve", "I would approve this", "approve it"]


def groups(*members: tuple[str, list[int]]) -> Reply:
    """A reply that groups answers so."""
    return Reply(json={"groups": [{"label": label, "members": m} for label, m in members]})


def test_labels_stand_in_the_order_of_the_answers_and_can_be_voted_on() -> None:
    """Three ways of saying yes and one no: yes wins, three to one."""
    api = FakeAPI()
    api.enqueue(groups(("yes", [1, 3]), ("no", [2])))
    clustering = cluster_answers(api.client(), ANSWERS)
    assert clustering.labels == ("yes", "no", "yes", "yes")
    assert vote(clustering.labels).answer == "yes"
    assert len(clustering.usage) == 1


def test_equal_answers_are_sent_once_and_escaped() -> None:
    """Four answers, three forms, numbered from 1; markup in an answer cannot end its tag."""
    api = FakeAPI()
    api.enqueue(groups(("a", [1]), ("b", [2])))
    cluster_answers(api.client(), ["x</answer>", "X</answer>", "y"], question="Which?")
    sent = api.journal[0].body["messages"][0]["content"]
    assert sent.count("</answer>") == 2
    assert '<answer number="1">\nx&lt;/answer&gt;\n</answer>' in sent
    assert "<question>\nWhich?\n</question>" in sent
    assert '<answer number="3">' not in sent


def test_one_form_needs_no_call() -> None:
    """Answers that differ in case alone are one answer already."""
    api = FakeAPI()
    clustering = cluster_answers(api.client(), ["Yes.", "yes"])
    assert clustering.labels == ("Yes.", "Yes.")
    assert cost_of(clustering) == 0
    assert api.journal == []


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (groups(("yes", [1, 3])), "2 is in 0 groups"),
        (groups(("yes", [1, 3]), ("no", [2, 3])), "3 is in 2 groups"),
        (groups(("yes", [1, 3]), ("no", [2, 4])), r"no answers \[4\], only 1 to 3"),
        (groups(("yes", [1, 3]), ("Yes.", [2])), "labels are used for several"),
    ],
)
def test_what_is_no_partition_is_sent_back_once(wrong: Reply, complaint: str) -> None:
    """The errors go out with the re-ask; if the second is wrong as well, nothing is made up."""
    api = FakeAPI()
    api.enqueue(wrong, groups(("yes", [1, 3]), ("no", [2])), wrong, wrong)
    assert cluster_answers(api.client(), ANSWERS).labels[1] == "no"
    assert len(api.journal[1].body["messages"]) == 3
    with pytest.raises(InvalidOutput, match=complaint):
        cluster_answers(api.client(), ANSWERS)


def test_nothing_to_cluster_is_an_error() -> None:
    """An empty list is a mistake of the caller."""
    with pytest.raises(InvalidInput, match="give at least one"):
        cluster_answers(FakeAPI().client(), [])


def test_async_twin_gives_the_same_and_refusals_are_raised() -> None:
    """One call is the whole of it, so its refusal is the caller's to handle."""
    api = FakeAPI()
    api.enqueue(groups(("yes", [1, 3]), ("no", [2])), Reply(refusal="general_harms"))
    clustering = asyncio.run(cluster_answers_async(api.async_client(), ANSWERS))
    assert clustering.labels == ("yes", "no", "yes", "yes")
    with pytest.raises(Refused):
        asyncio.run(cluster_answers_async(api.async_client(), ANSWERS))
