# SPDX-License-Identifier: MIT
"""Bodies, queries and answers, as pydantic models: they validate, and the OpenAPI document is made of them.

Bodies are strict (a number is a number, `true` is none) and refuse unknown fields. Ranges are those of the
configuration: a client may not ask for what an operator may not configure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fieldcam.core.config import ExposureMs, Gain, Quality, Side
from fieldcam.core.errors import RequestInvalidError
from fieldcam.core.names import CAMERA_NAME, SAMPLE_NUMBER

MAX_WAIT_SECONDS = 25.0  # every answer arrives within 30 s
MAX_PAGE = 500
_BIG = 10**18 - 1  # numbers beyond it do not come back from the catalog as numbers

SampleNumber = Annotated[str, Field(pattern=f"^{SAMPLE_NUMBER.pattern}$")]
Coordinate = Annotated[float, Field(allow_inf_nan=False)]
WholeId = Annotated[int, Field(ge=-_BIG, le=_BIG)]
TextId = Annotated[str, Field(min_length=1, max_length=128)]
CameraName = Annotated[str, Field(pattern=f"^{CAMERA_NAME.pattern}$", description="default: the default camera")]

# What a message says of a field's range; pydantic alone would name one end of it.
RANGES = {
    "exposure": "more than 0, at most 1000000 (milliseconds)",
    "gain": "more than 0, at most 1000",
    "quality": "1 to 100",
    "width": "16 to 16384 (pixels)",
    "height": "16 to 16384 (pixels)",
    "sample_no": "1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit",
    "submission_no": "1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit",
    "description": "at most 1000 characters",
    "not_before": '"request" or "any"',
    "limit": f"1 to {MAX_PAGE}",
    "wait": f"0 to {MAX_WAIT_SECONDS:g} (seconds)",
    "max_age": "more than 0, at most 86400 (seconds)",
    "fps": "more than 0, at most 120",
    "kind": "live or capture",
    "format": "image or json",
    "service": "1 to 32 of a-z, 0-9 and -, beginning with a letter or digit",
    "image_id": "the id of a capture",
    "camera": "1 to 32 of a-z, 0-9 and -, beginning with a letter or digit",
    "since": "a time such as 2026-01-13T10:30:45.123Z",
    "until": "a time such as 2026-01-13T10:30:45.123Z",
}


class Body(BaseModel):
    """A JSON body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(BaseModel):
    """Parameters of a URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """A JSON answer; written with the names clients know."""

    model_config = ConfigDict(populate_by_name=True, frozen=True)

    def as_json(self) -> dict[str, Any]:
        """Return the answer as plain data."""
        return self.model_dump(mode="json", by_alias=True)


# --- requests ---------------------------------------------------------------------------------------------------------


class Resolution(Body):
    """Size in pixels; one of `available_resolutions`."""

    width: Side
    height: Side


class Position(Body):
    """Where the sample was; the unit is the client's own."""

    x: Coordinate | None = None
    y: Coordinate | None = None
    z: Coordinate | None = None


class CaptureBody(Body):
    """What a capture is taken with and filed under; everything is optional and holds for this capture only."""

    exposure: ExposureMs | None = Field(None, description="milliseconds")
    gain: Gain | None = Field(None, description="1.0 = none")
    quality: Quality | None = Field(None, description="JPEG quality")
    resolution: Resolution | None = None
    not_before: Literal["request", "any"] = Field("request", description="any: the newest fresh frame will do")
    job_id: WholeId | TextId | None = None
    position: Position | None = None
    sample_no: SampleNumber | None = None
    submission_no: SampleNumber | None = Field(None, description="only together with sample_no")
    description: str | None = Field(None, max_length=1000)

    @model_validator(mode="after")
    def _check_together(self) -> CaptureBody:
        if self.submission_no is not None and self.sample_no is None:
            raise ValueError("sample_no: is missing beside submission_no")
        return self


class SettingsBody(Body):
    """Settings that hold from now on, also after a restart."""

    exposure: ExposureMs | None = Field(None, description="milliseconds")
    gain: Gain | None = Field(None, description="1.0 = none")
    resolution: Resolution | None = None


class CameraQuery(Query):
    """Which camera."""

    camera: CameraName | None = None


class VTestQuery(CameraQuery):
    """A test of a camera."""

    storage: bool = Field(False, description="also write the frame where captures are stored, and remove it")


class StreamQuery(Query):
    """How to watch. Unknown parameters are ignored: pages add one to get past their caches."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    camera: CameraName | None = None
    fps: float | None = Field(None, gt=0, le=120, allow_inf_nan=False, description="at most so many frames a second")
    width: Side | None = Field(None, description="at most so many pixels wide")
    native: bool = Field(False, description="frames of the loop in full size instead of the preview stream")


class LatestQuery(Query):
    """Which newest frame."""

    camera: CameraName | None = None
    max_age: float | None = Field(None, gt=0, le=86_400, allow_inf_nan=False, description="seconds")
    wait: float = Field(0.0, ge=0, le=MAX_WAIT_SECONDS, description="seconds to wait for such a frame")
    format: Literal["image", "json"] | None = Field(None, description="json: the sidecar; also by `Accept`")


class ImagesQuery(Query):
    """Which images; everything that is given must hold. Newest first."""

    camera: CameraName | None = None
    kind: Literal["live", "capture"] | None = None
    sample_no: SampleNumber | None = None
    submission_no: SampleNumber | None = None
    user_id: TextId | None = None
    job_id: TextId | None = None
    since: str | None = Field(None, description="captured at or after this time, RFC 3339")
    until: str | None = Field(None, description="captured before this time, RFC 3339")
    cursor: str | None = Field(None, max_length=64, description="`next` of the page before")
    limit: int = Field(50, ge=1, le=MAX_PAGE)

    @field_validator("since", "until")
    @classmethod
    def _to_utc(cls, value: str | None) -> str | None:
        return None if value is None else to_utc(value)


class ImagePath(BaseModel):
    """Which image."""

    id: int = Field(description="id of the image")


# --- answers ----------------------------------------------------------------------------------------------------------


class SizeAnswer(Answer):
    """Pixels."""

    width: int | None
    height: int | None


class FrameSettings(Answer):
    """As the camera reports them."""

    exposure: float | None
    gain: float | None
    resolution: SizeAnswer


class ImageInfo(Answer):
    """The file."""

    size_bytes: int
    format: str = "JPG"


class CaptureMetadata(Answer):
    """How it was taken."""

    format: str = "JPG"
    quality: int | None
    camera_connected: bool = Field(alias="cameraConnected")
    simulated_mode: bool = Field(alias="simulatedMode")


class CaptureAnswer(Answer):
    """A capture; its file is durable."""

    success: bool = True
    filename: str
    filepath: str
    timestamp: str
    captured_at: str = Field(alias="capturedAt")
    exposure_time: float | None = Field(alias="exposureTime", description="milliseconds, as the camera reports it")
    gain: float | None
    file_size: int = Field(alias="fileSize")
    width: int
    height: int
    settings: FrameSettings
    image_info: ImageInfo
    metadata: CaptureMetadata
    image_id: int | None = Field(alias="imageId")
    database_saved: bool = Field(alias="databaseSaved", description="false: the row follows")
    camera: str
    simulated: bool


class SettingsAnswer(Answer):
    """Settings in force."""

    exposure: float | None
    gain: float | None
    resolution: SizeAnswer
    available_resolutions: list[SizeAnswer]
    connected: bool
    streaming: bool


class ReasonAnswer(Answer):
    """Why it is not healthy."""

    code: str
    message: str
    camera: str | None


class HealthAnswer(Answer):
    """Whether the appliance works."""

    status: Literal["healthy", "degraded", "unhealthy"]
    camera_connected: bool = Field(description="a real camera delivers")
    timestamp: str
    simulated_mode: bool = Field(alias="simulatedMode")
    reasons: list[ReasonAnswer]
    latest_image_age: float | None = Field(description="seconds; null = there is no frame")


class VHealthDetails(Answer):
    """Details of the V family's health."""

    uptime_seconds: float
    camera_connected: bool
    camera_capturing: bool
    websocket_connections: int
    version: str


class VHealthAnswer(Answer):
    """Whether the appliance works, for the V family."""

    success: bool
    status: str
    timestamp: str
    details: VHealthDetails


class VTestDevice(Answer):
    """The camera that was tested."""

    device_id: str
    configured_resolution: str
    configured_fps: float
    is_initialized: bool
    is_capturing: bool


class VTestData(Answer):
    """What a test found."""

    camera_status: str
    device_info: VTestDevice


class VTestAnswer(Answer):
    """A frame was taken and is whole."""

    success: bool
    message: str
    data: VTestData
    timestamp: str


class ImageAnswer(Answer):
    """An image as the catalog knows it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: int
    camera: str
    kind: str
    filename: str
    captured_at: str
    width: int
    height: int
    file_size: int
    simulated: bool
    file: str


class ImagesAnswer(Answer):
    """A page of images."""

    images: list[ImageAnswer]
    next: str | None = Field(description="cursor of the next page; null on the last")


class SystemStatusAnswer(Answer):
    """The manager's status, and what the API sees. Null: the manager does not answer."""

    model_config = ConfigDict(extra="allow", frozen=True)

    host_capture_healthy: bool | None
    container_accessible: bool | None
    latest_image_age: float | None
    disk_usage_percent: float | None
    images_in_queue: int | None
    error_alerts: list[str] | None
    version: str
    timestamp: str
    simulated: bool
    health: HealthAnswer
    cameras: list[dict[str, Any]]


class LocalProblem(Answer):
    """An error of the local family."""

    detail: str


class VReason(Answer):
    """What went wrong."""

    code: str
    message: str


class VProblem(Answer):
    """An error of the V family."""

    success: bool
    error: VReason
    timestamp: str


class GatewayProblem(Answer):
    """An error of the gateway family."""

    status_code: int = Field(alias="statusCode")
    message: str
    error: str
    code: str


def to_utc(value: str) -> str:
    """Return a time with an offset in UTC with milliseconds, as the catalog has it.

    Raises:
        ValueError: it is none.
    """
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("not a time with its offset") from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- messages ---------------------------------------------------------------------------------------------------------


def refuse(error: ValidationError) -> Any:
    """Say what is wrong, one line per field: name, value, what is allowed.

    Raises:
        RequestInvalidError: always.
    """
    lines, fields = [], []
    for detail in error.errors(include_url=False):
        path = [str(part) for part in detail["loc"] if str(part) not in {"int", "str", "constrained-int"}]
        field = ".".join(path)
        line = _words(field, path, detail)
        if line not in lines:
            lines.append(line)
            fields.append(field)
    raise RequestInvalidError("; ".join(lines), fields=fields)


def _words(field: str, path: list[str], detail: Any) -> str:
    if detail["type"] == "extra_forbidden":
        return f"{field[:64]}: unknown field"
    if detail["type"] == "missing":
        return f"{field}: is missing"
    message = detail["msg"].removeprefix("Value error, ")
    if not path:
        return str(message)
    value = detail["input"]
    shown = repr(value)[:80] if isinstance(value, str | int | float | bool) or value is None else "this value"
    return f"{field}: {shown} is not allowed; {RANGES.get(path[-1], message)}"
