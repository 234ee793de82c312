"""A job that dies at every point where it can: sent once, stored once, and gone on with.

Every statement to its database and every HTTP call is a point, before and after it. The process
"dies" by an exception that nothing catches; what was not committed is rolled back, as SQLite
does for a process that is gone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from batching_worker import Moments, answers, api_of, asked, created, requests_of, rows

from patterns.batching import BatchJob
from patterns.batching.store import JobStore
from patterns.fake_api import FakeAPI


class Died(BaseException):
    """The process is gone."""


@contextmanager
def counted(points: Moments) -> Iterator[None]:
    """Statements to the job's own database are points too."""
    do = JobStore._do

    def counting(self: JobStore, query: str, *values: Any, **rows: Any) -> Any:
        if not self._where:
            return do(self, query, *values, **rows)
        points.pass_()
        cursor = do(self, query, *values, **rows)
        points.pass_()
        return cursor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobStore, "_do", counting)
        yield


def life(api: FakeAPI, path: Path, deadly: int, *, cancel: bool = False, project: str = "") -> int:
    """One process that works until the deadly point; how many points it passed."""

    def die(point: int) -> None:
        if 0 < deadly <= point:  # nothing happens any more after it
            raise Died

    points = Moments(die)
    clock: Any = api.clock
    client = api.client(middleware=[points])
    with counted(points):
        try:
            job = BatchJob(
                client, path, clock=clock.now, sleep=clock.sleep, most_requests=2, settle=5.0
            )
        except Died:
            return points.passed
        try:
            job.submit(rows(project, 3) if project else requests_of(3))
            if cancel:
                job.cancel()
            job.wait()
            if cancel:
                job.resume({"canceled"})
                job.wait()
        except Died:
            pass
        finally:
            job._store._db.close()  # uncommitted work is gone
    return points.passed


def survivors(path: Path, deadly: int, second: int) -> FakeAPI:
    """Die once or twice, then live to the end."""
    api, _ = api_of(0.01)
    life(api, path, deadly)
    if second:
        life(api, path, second)
    life(api, path, 0)
    with BatchJob(api.client(), path) as job:
        assert [result.custom_id for result in job.results()] == ["job-0", "job-1", "job-2"]
        assert job.status().outcomes == {"succeeded": 3}
    return api


def test_dying_at_any_point_loses_nothing_and_sends_nothing_twice(tmp_path: Path) -> None:
    """Every third point here, all of them in the soak."""
    whole = life(api_of(0.01)[0], tmp_path / "whole", 0)
    assert whole > 80
    for deadly in range(1 + whole % 3, whole, 3):
        api = survivors(tmp_path / f"{deadly}", deadly, 0)
        assert created(api) == {"job-0": 1, "job-1": 1, "job-2": 1}, f"died at point {deadly}"


def die_side_by_side(folder: Path, deadly: int, whole: int) -> None:
    """Three jobs of equal ids and sizes: two die, each elsewhere, while another begins and ends."""
    api, _ = api_of(0.01)
    dies = {"A": deadly, "B": 1 + deadly * 7 % whole, "C": 0}
    for name, point in dies.items():
        life(api, folder / name, point, project=f"PROJECT-{name}")
    for name in "BA":
        life(api, folder / name, 0, project=f"PROJECT-{name}")
    for name in dies:
        with BatchJob(api.client(), folder / name) as job:
            ids = [each["custom_id"] for each in rows("", 3)]
            assert [custom_id for custom_id, _ in answers(job)] == ids, (deadly, name)
            for n, (_, text) in enumerate(answers(job)):
                assert f"PROJECT-{name} {n}" in text, (deadly, name)
    assert set(asked(api).values()) == {1}, f"died at point {deadly}"


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.soak)])
def test_jobs_that_die_side_by_side_keep_their_own_answers(tmp_path: Path, step: int) -> None:
    """Every eleventh point here, all of them in the soak; each question is paid once."""
    whole = life(api_of(0.01)[0], tmp_path / "whole", 0, project="PROJECT-A")
    for deadly in range(1, whole, step):
        (tmp_path / f"{deadly}").mkdir()
        die_side_by_side(tmp_path / f"{deadly}", deadly, whole)


@pytest.mark.soak
def test_dying_twice_at_any_points(tmp_path: Path) -> None:
    """Every point, then another one in the second life."""
    whole = life(api_of(0.01)[0], tmp_path / "whole", 0)
    for deadly in range(1, whole):
        for second in (0, 1 + deadly % 7, 20 + deadly % 31):
            api = survivors(tmp_path / f"{deadly}-{second}", deadly, second)
            assert created(api) == {"job-0": 1, "job-1": 1, "job-2": 1}, (deadly, second)


def test_dying_at_any_point_of_a_cancel_can_be_gone_on_with(tmp_path: Path) -> None:
    """Cancelled, dead, cancelled and resumed: at the end everything is answered."""
    whole = life(api_of(0.01)[0], tmp_path / "whole", 0, cancel=True)
    for deadly in range(5, whole, 7):
        api, _ = api_of(0.01)
        path = tmp_path / f"{deadly}"
        life(api, path, deadly, cancel=True)
        life(api, path, 0, cancel=True)
        with BatchJob(api.client(), path) as job:
            assert job.status().outcomes == {"succeeded": 3}, f"died at point {deadly}"
            assert len({result.index for result in job.results()}) == 3
