"""The endpoints of the Batches API."""

from collections.abc import Callable, Mapping
from typing import Final

from patterns.fake_api.batches.answers import BatchAnswers
from patterns.fake_api.batches.store import Batch, Batches
from patterns.fake_api.wire.answers import json_answer
from patterns.fake_api.wire.http import Answer
from patterns.fake_api.wire.routes import Call, parse

PIECE: Final = 65_536
"""Bytes of results that are sent at once; line by line, a socket would have most of the work."""


class BatchRoutes:
    """From calls to answers, by the names that `routes` gives."""

    def __init__(self, batches: Batches, answers: BatchAnswers) -> None:
        self._batches = batches
        self._answers = answers

    def handlers(self) -> Mapping[str, Callable[[Call, str], Answer]]:
        """Each endpoint's function; it takes the call and the id in its path."""
        return {
            "batch_create": self._create,
            "batch_list": self._list,
            "batch": self._get,
            "batch_cancel": self._cancel,
            "batch_delete": self._delete,
            "batch_results": self._results,
        }

    def _create(self, call: Call, _: str) -> Answer:
        body = parse(call.request)
        decide = self._answers.decide
        batch = self._batches.create(call, body, lambda params, n: decide(call, params, n))
        return _show(batch, call)

    def _list(self, call: Call, _: str) -> Answer:
        request = call.request
        page = self._batches.list(request.query, call.workspace, call.at, request.base_url)
        return json_answer(page)

    def _get(self, call: Call, batch_id: str) -> Answer:
        return _show(self._batches.get(batch_id, call.workspace), call)

    def _cancel(self, call: Call, batch_id: str) -> Answer:
        batch = self._batches.get(batch_id, call.workspace)
        self._batches.cancel(batch, call.at)
        return _show(batch, call)

    def _delete(self, call: Call, batch_id: str) -> Answer:
        self._batches.delete(self._batches.get(batch_id, call.workspace), call.at)
        return json_answer({"id": batch_id, "type": "message_batch_deleted"})

    def _results(self, call: Call, batch_id: str) -> Answer:
        batch = self._batches.get(batch_id, call.workspace)
        render = self._answers.render
        lines = self._batches.results(batch, call.at, lambda *each: render(batch_id, *each))
        return Answer(200, {"content-type": "application/x-jsonl"}, lines, piece=PIECE)


def _show(batch: Batch, call: Call) -> Answer:
    return json_answer(batch.as_dict(call.at, call.request.base_url))
