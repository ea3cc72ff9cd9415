# SPDX-License-Identifier: MIT
"""Images for token clients: the newest live frame, pages of the catalog, single images and their files."""

from __future__ import annotations

import heapq
from typing import Any

from flask import Response, jsonify, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import wrap_file

from fieldcam.api import present
from fieldcam.api.access import token
from fieldcam.api.context import Context, context
from fieldcam.api.image_files import Newest, open_row, wait_for_newest
from fieldcam.api.schemas import GatewayProblem, ImageAnswer, ImagePath, ImagesAnswer, ImagesQuery, LatestQuery
from fieldcam.api.survey import live_age_allowed
from fieldcam.catalog.image_row import ImageRow
from fieldcam.catalog.reader import Cursor, ImageFilter, is_live_id
from fieldcam.core.errors import ImageNotFoundError, RequestInvalidError
from fieldcam.core.layout import CameraPaths

_TAG = Tag(name="images", description="On the token listener; role viewer")
_SECURITY: list[dict[str, list[Any]]] = [{"token": []}]
_REFUSED: dict[str | int, Any] = {401: GatewayProblem, 422: GatewayProblem}
_JPEG: dict[str, Any] = {"description": "OK", "content": {"image/jpeg": {}}}
# A name is never used for another image, so what was fetched once stays right.
_KEEP = "private, max-age=86400, immutable"
api = APIBlueprint("images", __name__, url_prefix="/api/v1/images", abp_tags=[_TAG], abp_security=_SECURITY)


@api.get("", summary="Pages of images, newest first", responses={200: ImagesAnswer, 503: GatewayProblem, **_REFUSED})
@token("viewer")
def images(query: ImagesQuery) -> dict[str, Any]:
    """Without `kind` live frames and captures together. `next` is the `cursor` of the following page."""
    this = context()
    if query.camera is not None:
        this.camera(query.camera)
    after = parse_cursor(query.cursor)
    wanted = ImageFilter(
        camera=query.camera,
        kind=query.kind,
        sample_no=query.sample_no,
        submission_no=query.submission_no,
        user_id=query.user_id,
        job_id=query.job_id,
        since=query.since,
        until=query.until,
    )
    rows, following = _page(this, wanted, after, query.limit)
    answer = ImagesAnswer(
        images=[present.image_answer(row) for row in rows], next=str(following) if following is not None else None
    )
    return answer.as_json()


@api.get(
    "/latest",
    summary="The newest live frame",
    responses={200: _JPEG, 404: GatewayProblem, 503: GatewayProblem, **_REFUSED},
)
@token("viewer")
def latest(query: LatestQuery) -> Response:
    """The JPEG, with what is known of it in headers; with `format=json` or `Accept: application/json` its sidecar.

    `max_age`: an older frame is an error. `wait`: wait so long for a fresh frame, and with `If-None-Match` for another
    one than that.
    """
    this = context()
    paths = this.camera(query.camera)
    max_age = query.max_age or live_age_allowed(this.config, paths.name)
    as_json = query.format == "json" or (query.format is None and _prefers_json())
    known = _known_tag(as_json=as_json)
    if query.wait:
        with this.wait_places.held():
            newest = _newest(this, paths, max_age, query.wait, known)
    else:
        newest = _newest(this, paths, max_age, 0.0, known)
    return _present(this, newest, as_json=as_json)


@api.get("/<int:id>", summary="An image", responses={200: ImageAnswer, 404: GatewayProblem, 503: GatewayProblem})
@token("viewer")
def image(path: ImagePath) -> dict[str, Any]:
    """Also one that was removed: `state` says so."""
    return present.image_answer(_row(context(), path.id)).as_json()


@api.get("/<int:id>/file", summary="The file of an image", responses={200: _JPEG, 404: GatewayProblem})
@token("viewer")
def image_file(path: ImagePath) -> Response:
    """The JPEG as it was captured; `Range`, `If-None-Match` and `If-Range` are understood."""
    row = _row(context(), path.id)
    file = open_row(context(), row)
    answer = Response(wrap_file(request.environ, file), mimetype="image/jpeg", direct_passthrough=True)
    answer.call_on_close(file.close)
    answer.content_length = row.file_size
    answer.set_etag(row.sha256)
    answer.headers["Cache-Control"] = _KEEP
    answer.headers["Content-Disposition"] = f'inline; filename="{row.filename}"'
    answer.headers["X-Camera"] = row.camera
    answer.headers["X-Captured-At"] = row.captured_at
    answer.headers["X-Sequence"] = str(row.sequence)
    answer.headers["X-Simulated"] = present.true_or_false(row.simulated)
    try:
        answer.make_conditional(request.environ, accept_ranges=True, complete_length=row.file_size)
    except HTTPException:  # a range beyond the end
        file.close()
        raise
    return answer


def _page(this: Context, wanted: ImageFilter, after: Cursor | None, limit: int) -> tuple[list[ImageRow], Cursor | None]:
    """Return one page over both catalogs: each is ordered by (time, id), so the newest of both are the newest."""
    readers = {"live": this.live, "capture": this.captures}
    asked = [reader for kind, reader in readers.items() if wanted.kind in {None, kind}]
    pages = [reader.page(wanted, after=after, limit=limit + 1) for reader in asked]
    merged = heapq.merge(*(page.rows for page in pages), key=lambda row: (row.captured_at, row.id), reverse=True)
    rows = list(merged)
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], Cursor(last.captured_at, last.id)


def parse_cursor(text: str | None) -> Cursor | None:
    """Read the `cursor` of a query.

    Raises:
        RequestInvalidError: it is none.
    """
    if text is None:
        return None
    try:
        return Cursor.parse(text)
    except ValueError:
        raise RequestInvalidError("cursor: is none; take `next` of the page before as it is", field="cursor") from None


def _row(this: Context, image_id: int) -> ImageRow:
    row = (this.live if is_live_id(image_id) else this.captures).get(image_id)
    if row is None:
        raise ImageNotFoundError(f"there is no image {image_id}")
    return row


def _newest(this: Context, paths: CameraPaths, max_age: float, wait_seconds: float, known: str | None) -> Newest:
    return wait_for_newest(this, paths, max_age=max_age, wait_seconds=wait_seconds, other_than=known)


def _present(this: Context, newest: Newest, *, as_json: bool) -> Response:
    if as_json:
        answer = jsonify({**newest.sidecar.to_dict(), "age": round(newest.age, 3)})
    else:
        answer = Response(newest.jpeg, mimetype="image/jpeg")
    answer.headers.update(present.frame_headers(newest.sidecar, this.now()))
    answer.headers["Cache-Control"] = "no-cache"
    answer.vary.add("Accept")
    answer.set_etag(_tag(newest.tag, as_json=as_json))
    answer.make_conditional(request.environ)
    return answer


def _tag(tag: str, *, as_json: bool) -> str:
    return f"{tag}-json" if as_json else tag


def _known_tag(*, as_json: bool) -> str | None:
    """Return the tag of the frame the client has."""
    tags = request.if_none_match.as_set()
    known = next(iter(tags), None)
    return known.removesuffix("-json") if known is not None and as_json else known


def _prefers_json() -> bool:
    return request.accept_mimetypes.best_match(["image/jpeg", "application/json"], "image/jpeg") == "application/json"
