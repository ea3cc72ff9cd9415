# SPDX-License-Identifier: MIT
"""What consumers found, for token clients."""

from __future__ import annotations

from typing import Any

from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from fieldcam.api.access import token
from fieldcam.api.context import context
from fieldcam.api.result_schemas import ResultAnswer, ResultsAnswer, ResultsQuery
from fieldcam.api.routes.images import parse_cursor
from fieldcam.api.schemas import GatewayProblem
from fieldcam.catalog.result_reader import ResultFilter
from fieldcam.catalog.result_rows import ResultRow

_TAG = Tag(name="results", description="On the token listener; role viewer")
api = APIBlueprint("results", __name__, url_prefix="/api/v1/results", abp_tags=[_TAG], abp_security=[{"token": []}])


@api.get(
    "",
    summary="Pages of what consumers found, newest first",
    responses={200: ResultsAnswer, 401: GatewayProblem, 422: GatewayProblem, 503: GatewayProblem},
)
@token("viewer")
def results(query: ResultsQuery) -> dict[str, Any]:
    """A result is here within seconds of being written. `next` is the `cursor` of the following page."""
    this = context()
    if query.camera is not None:
        this.camera(query.camera)
    after = parse_cursor(query.cursor)
    wanted = ResultFilter(
        service=query.service, camera=query.camera, image_id=query.image_id, since=query.since, until=query.until
    )
    page = this.results.page(wanted, after=after, limit=query.limit)
    following = str(page.next) if page.next is not None else None
    return ResultsAnswer(results=[_answer(row) for row in page.rows], next=following).as_json()


def _answer(row: ResultRow) -> ResultAnswer:
    return ResultAnswer.model_validate({"id": row.id, **row.result.to_dict()})
