"""Many jobs with equal sizes and equal ids on one account: every answer belongs to its question."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from batching_worker import PATH, answers, api_of, asked, job_on, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.batching import BatchJob
from patterns.batching.wire import place_of, wire_id
from patterns.fake_api import Fault

FAULTS = {
    "not made": Fault.status(500),
    "made, answer lost": Fault.disconnect(),
    "made, answer broken": Fault.truncated_json(),
    "fine": Fault(),
}


@settings(max_examples=15, deadline=None)
@given(
    ends=st.lists(st.sampled_from(sorted(FAULTS)), min_size=2, max_size=5),
    size=st.integers(1, 4),
    gap=st.sampled_from([0, 5, 120]),
    order=st.randoms(use_true_random=False),
)
def test_no_job_ever_gets_anothers_answers(
    ends: list[str], size: int, gap: int, order: Any
) -> None:
    """Whatever becomes of their creates, and in whatever order they go on."""
    api, clock = api_of(0.1)
    for name, end in enumerate(ends):
        fault = FAULTS[end]

        def ours(body: Any, name: int = name) -> bool:
            return body is not None and f"PROJECT-{name} " in str(body)

        api.add_faults(Fault(fault.damage, fault.error, ours, PATH, 1))
    with TemporaryDirectory() as folder:
        for name in range(len(ends)):
            with job_on(api, f"{folder}/{name}") as job:
                job.submit(rows(f"PROJECT-{name}", size))
            clock.sleep(gap)
        names = list(range(len(ends)))
        order.shuffle(names)
        for name in names:
            with job_on(api, f"{folder}/{name}") as job:
                assert job.wait().outcomes == {"succeeded": size}
                ids = [each["custom_id"] for each in rows("", size)]
                assert [custom_id for custom_id, _ in answers(job)] == ids
                for n, (_, text) in enumerate(answers(job)):
                    assert f"PROJECT-{name} {n}" in text
    assert set(asked(api).values()) == {1}


def test_two_jobs_in_one_database_have_their_own_names(tmp_path: Path) -> None:
    """The same ids in both, and each only its own results."""
    api, clock = api_of()
    options: Any = {"clock": clock.now, "sleep": clock.sleep}
    url = f"sqlite:///{tmp_path / 'jobs'}"
    jobs = [BatchJob(api.client(), _at(url), name=name, **options) for name in "ab"]
    for job, project in zip(jobs, "AB", strict=True):
        job.plan(rows(f"PROJECT-{project}", 5))
    assert len({job.nonce for job in jobs}) == 2
    assert [job.status().requests for job in jobs] == [5, 5]
    for job in jobs:
        job.close()


def _at(url: str) -> Any:
    """Stands for an engine where only its database matters."""
    from types import SimpleNamespace

    return SimpleNamespace(url=url)


ids = st.text("abcXYZ-_019", min_size=1, max_size=64)


@given(nonce=st.binary(min_size=8, max_size=8), shard=st.integers(1, 99_999), custom_id=ids)
def test_an_id_on_the_wire_is_legal_and_leads_back(
    nonce: bytes, shard: int, custom_id: str
) -> None:
    """At most 64 characters of those that the API allows, whatever the caller's id looks like."""
    n = shard * 7
    sent = wire_id(nonce.hex(), shard, n, custom_id)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", sent)
    assert place_of(sent, nonce.hex(), shard) == n
    assert place_of(sent, nonce.hex(), shard + 1) is None
    assert place_of(sent, "f" * 16, shard) is None or nonce.hex() == "f" * 16
    assert custom_id.startswith(sent.split("-", 3)[3])


@pytest.mark.parametrize("sent", ["row-1", "", "0123456789abcdef-1", "0123456789abcdeg-1-1-row"])
def test_ids_of_others_lead_nowhere(sent: str) -> None:
    """Whatever they look like."""
    assert place_of(sent, "0123456789abcdef", 1) is None
