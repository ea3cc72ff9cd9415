# SPDX-License-Identifier: MIT
"""Query and answers of `/api/v1/results`; how they validate is told in `schemas`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from fieldcam.api.schemas import MAX_PAGE, Answer, CameraName, Query, to_utc
from fieldcam.core.names import SERVICE_NAME

ServiceName = Annotated[str, Field(pattern=f"^{SERVICE_NAME.pattern}$", description="name of the consumer")]


class ResultsQuery(Query):
    """Which results; everything that is given must hold. Newest first."""

    service: ServiceName | None = None
    camera: CameraName | None = None
    image_id: int | None = Field(None, ge=1, lt=2**63, description="id of the capture they are about")
    since: str | None = Field(None, description="made at or after this time, RFC 3339")
    until: str | None = Field(None, description="made before this time, RFC 3339")
    cursor: str | None = Field(None, max_length=64, description="`next` of the page before")
    limit: int = Field(50, ge=1, le=MAX_PAGE)

    @field_validator("since", "until")
    @classmethod
    def _to_utc(cls, value: str | None) -> str | None:
        return None if value is None else to_utc(value)


class ResultAnswer(Answer):
    """What a consumer found."""

    id: int = Field(description="rises in the order in which results came in")
    image_id: int | None = Field(description="capture it is about; null: a live frame, or none")
    camera: str
    service: str
    at: str = Field(description="when it was made, RFC 3339 UTC")
    data: dict[str, Any] = Field(description="as the consumer wrote it")
    sequence: int | None = Field(description="of the frame, within boot_id")
    filename: str | None = Field(description="of the frame; null: it had no file yet")
    boot_id: str
    monotonic_ns: int = Field(description="when it was made, CLOCK_BOOTTIME")


class ResultsAnswer(Answer):
    """A page of results."""

    results: list[ResultAnswer]
    next: str | None = Field(description="cursor of the next page; null on the last")
