# SPDX-License-Identifier: MIT
"""Everything fieldcam raises on purpose.

    FieldcamError
    ├── ConfigError                        CONFIG_INVALID
    ├── RequestInvalidError                VALIDATION_ERROR
    ├── AuthError                          AUTH_ERROR
    │   ├── TokenInvalidError              INVALID_TOKEN
    │   └── AuthUnavailableError           AUTH_UNAVAILABLE
    ├── ServerBusyError                    SERVER_BUSY
    ├── SharedVolumeError                  SHARED_VOLUME_ERROR
    │   ├── ImageNotFoundError             IMAGE_NOT_FOUND
    │   ├── ImageTooOldError               IMAGE_TOO_OLD
    │   ├── CacheError                     CACHE_ERROR
    │   ├── NameTakenError                 NAME_TAKEN
    │   ├── StorageUnavailableError        STORAGE_UNAVAILABLE
    │   └── StorageFullError               STORAGE_FULL
    ├── CaptureServiceError                CAPTURE_SERVICE_ERROR
    │   ├── CameraNotAvailableError        CAMERA_NOT_AVAILABLE
    │   │   ├── CameraNotInitializedError  CAMERA_NOT_INITIALIZED
    │   │   └── CameraInUseError           CAMERA_IN_USE
    │   ├── CaptureFailedError             CAPTURE_FAILED
    │   │   ├── CaptureTimeoutError        CAPTURE_TIMEOUT
    │   │   └── ImageInvalidError          IMAGE_INVALID
    │   └── CaptureInProgressError         CAPTURE_IN_PROGRESS
    ├── BackupInvalidError                 BACKUP_INVALID
    ├── CatalogError                       CATALOG_ERROR
    │   ├── CatalogUnavailableError        CATALOG_UNAVAILABLE
    │   └── CatalogTooNewError             CATALOG_TOO_NEW
    └── ControlError                       CONTROL_ERROR
        └── ProcessNotRunningError         PROCESS_NOT_RUNNING

Codes never change. `http_status` is what the API answers, `exit_code` what a command ends with. Each docstring says
when the error happens and, after "What to do:", how to mend it; docs/errors.md is generated from them.
"""

from __future__ import annotations

from typing import Any, ClassVar


class FieldcamError(Exception):
    """Something went wrong that fieldcam knows by name.

    What to do: read the message; it names the key, file or field.
    """

    code: ClassVar[str] = "FIELDCAM_ERROR"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def as_dict(self) -> dict[str, Any]:
        """Return the error as it travels between processes."""
        return {"code": self.code, "message": self.message, "details": self.details}


class ConfigError(FieldcamError):
    """A configuration key is unknown or its value is not allowed.

    What to do: the message names the key, the value and where it came from; mend it there and run
    `fieldcam config check`.
    """

    code = "CONFIG_INVALID"
    exit_code = 78  # EX_CONFIG


class RequestInvalidError(FieldcamError):
    """A request has a field that is unknown, missing, of the wrong type or out of range.

    What to do: mend the field the message names.
    """

    code = "VALIDATION_ERROR"
    http_status = 422
    exit_code = 2


class AuthError(FieldcamError):
    """The caller is known but may not do this.

    What to do: use a token whose role allows it (`fieldcam token issue --role …`).
    """

    code = "AUTH_ERROR"
    http_status = 403
    exit_code = 77  # EX_NOPERM


class TokenInvalidError(AuthError):
    """No token was sent, or it is unknown, revoked or expired.

    What to do: send `Authorization: Bearer <token>`; make a token with `fieldcam token issue`.
    """

    code = "INVALID_TOKEN"
    http_status = 401


class AuthUnavailableError(AuthError):
    """The database of tokens cannot be read or written, so nobody can be let in.

    What to do: look at the file in the message: its owner must be the user of `capture-api`, its disk must not be full.
    """

    code = "AUTH_UNAVAILABLE"
    http_status = 503
    exit_code = 74


class ServerBusyError(FieldcamError):
    """Every place for requests of this kind (streams, waits) is taken.

    What to do: try again after the seconds of `Retry-After`, or close a stream that nobody watches.
    """

    code = "SERVER_BUSY"
    http_status = 503
    exit_code = 75


class SharedVolumeError(FieldcamError):
    """An operation on the hand-off area or the archive failed.

    What to do: look at the path in the message; `fieldcam doctor` checks both places.
    """

    code = "SHARED_VOLUME_ERROR"
    exit_code = 74  # EX_IOERR


class ImageNotFoundError(SharedVolumeError):
    """There is no such image, or no image at all yet.

    What to do: check the id or name; if nothing was ever captured, look at the capture process.
    """

    code = "IMAGE_NOT_FOUND"
    http_status = 404


class ImageTooOldError(SharedVolumeError):
    """The newest image is older than was asked for.

    What to do: the camera has stopped delivering; look at `fieldcam doctor` and the health answer.
    """

    code = "IMAGE_TOO_OLD"
    http_status = 503


class CacheError(SharedVolumeError):
    """The cache of a provider cannot be what was asked for, or it was used after `close()`.

    What to do: give `cache_size` as a whole number of 0 or more (0 keeps nothing); make a new provider after `close()`.
    """

    code = "CACHE_ERROR"


class NameTakenError(SharedVolumeError):
    """A file of that name exists already; nothing was overwritten.

    What to do: nothing; the capture process takes the next name by itself.
    """

    code = "NAME_TAKEN"


class StorageUnavailableError(SharedVolumeError):
    """A place has no marker `.fieldcam-volume`, or it cannot be written: the disk is not mounted or not ours.

    What to do: mount the disk, or deploy again; `fieldcam volume init` makes a marker by hand.
    """

    code = "STORAGE_UNAVAILABLE"
    http_status = 507


class StorageFullError(SharedVolumeError):
    """The disk has no space or no inodes left; nothing partial was kept.

    What to do: free space (`image-sync-manager --cleanup`) or give the archive a larger disk. Capture resumes by
    itself.
    """

    code = "STORAGE_FULL"
    http_status = 507


class CaptureServiceError(FieldcamError):
    """The capture service could not do what was asked.

    What to do: look at the log of `host-camera-capture`.
    """

    code = "CAPTURE_SERVICE_ERROR"


class CameraNotAvailableError(CaptureServiceError):
    """The camera cannot be reached: not connected, its tool is missing, or the capture process does not answer.

    What to do: check the cable and `fieldcam doctor`; for rpicam, `rpicam-still --list-cameras` must name the camera.
    """

    code = "CAMERA_NOT_AVAILABLE"
    http_status = 503
    exit_code = 69  # EX_UNAVAILABLE


class CameraNotInitializedError(CameraNotAvailableError):
    """The camera has not delivered its first frame yet.

    What to do: wait a few seconds; if it lasts, look at the log of `host-camera-capture`.
    """

    code = "CAMERA_NOT_INITIALIZED"


class CameraInUseError(CameraNotAvailableError):
    """Another process owns this camera.

    What to do: stop the other process; one camera has one capture process. The message names its pid where known.
    """

    code = "CAMERA_IN_USE"
    exit_code = 75  # EX_TEMPFAIL


class CaptureFailedError(CaptureServiceError):
    """The camera was asked for a frame and gave none, in all tries.

    What to do: the message has the last thing the camera said.
    """

    code = "CAPTURE_FAILED"
    http_status = 500


class CaptureTimeoutError(CaptureFailedError):
    """The camera did not deliver a frame before the deadline.

    What to do: if it lasts, the sensor hangs: check the cable and the power supply.
    """

    code = "CAPTURE_TIMEOUT"


class ImageInvalidError(CaptureFailedError):
    """The camera delivered something that is not a whole image of the expected size.

    What to do: nothing when it happens once (the frame was thrown away); if it lasts, check disk space and the camera.
    """

    code = "IMAGE_INVALID"


class CaptureInProgressError(CaptureServiceError):
    """Too many captures are waiting for this camera.

    What to do: try again in a moment.
    """

    code = "CAPTURE_IN_PROGRESS"
    http_status = 409
    exit_code = 75


class BackupInvalidError(FieldcamError):
    """A backup is damaged, incomplete, or no backup at all.

    What to do: copy the file again from where it was made, with the `.sha256` beside it; else use an older one.
    `fieldcam backup verify` checks it without changing anything.
    """

    code = "BACKUP_INVALID"
    exit_code = 65  # EX_DATAERR


class CatalogError(FieldcamError):
    """The catalog could not be read or written.

    What to do: `fieldcam catalog verify`; it can always be rebuilt from the sidecars (`fieldcam catalog rebuild`).
    """

    code = "CATALOG_ERROR"
    http_status = 503


class CatalogUnavailableError(CatalogError):
    """The catalog is missing, locked or being rebuilt.

    What to do: wait; the manager rebuilds it from the sidecars. Live routes go on meanwhile.
    """

    code = "CATALOG_UNAVAILABLE"
    exit_code = 75


class CatalogTooNewError(CatalogError):
    """The catalog was made by a newer release which says that this one is too old to use it.

    What to do: deploy that release or a newer one.
    """

    code = "CATALOG_TOO_NEW"


class ControlError(FieldcamError):
    """A process of the appliance gave no usable answer.

    What to do: look at `supervisorctl status` and the log of that process.
    """

    code = "CONTROL_ERROR"
    http_status = 503


class ProcessNotRunningError(ControlError):
    """A process of the appliance does not answer.

    What to do: `supervisorctl status` shows whether it runs; supervisord restarts it by itself.
    """

    code = "PROCESS_NOT_RUNNING"
    exit_code = 69


def all_errors() -> list[type[FieldcamError]]:
    """Return every error class, parents before children, in the order of the tree above."""

    def below(cls: type[FieldcamError]) -> list[type[FieldcamError]]:
        return [cls, *(found for child in cls.__subclasses__() for found in below(child))]

    return below(FieldcamError)


def error_from_dict(data: dict[str, Any]) -> FieldcamError:
    """Return the error another process sent with `FieldcamError.as_dict`.

    A code this release does not know (the other process is newer) becomes a plain `ControlError`.
    """
    by_code = {cls.code: cls for cls in all_errors()}
    cls = by_code.get(str(data.get("code")), ControlError)
    return cls(str(data.get("message", "no message")), **dict(data.get("details") or {}))
