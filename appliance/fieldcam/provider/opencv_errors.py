# SPDX-License-Identifier: MIT
"""Errors for programs written for OpenCV: ours, and a `cv2.error` as well where OpenCV is there.

`except cv2.error` of a program that was written for `cv2.VideoCapture` must catch what the exception mode raises, and
`except SharedVolumeError` of one that knows us, too. OpenCV is optional, so such a class is made when it is first
needed.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from fieldcam.core.errors import FieldcamError

Raised = TypeVar("Raised", bound=FieldcamError)


def for_opencv(error: Raised) -> Raised:
    """Return the same error as one that is also a `cv2.error`; unchanged where OpenCV cannot be imported."""
    if (opencv_error := _opencv_error()) is None:
        return error
    both = _both(type(error), opencv_error)(error.message, **error.details)
    both.__cause__ = error.__cause__
    return cast("Raised", both)


def _opencv_error() -> type[Exception] | None:
    try:
        import cv2
    except ImportError:  # not installed, or its libraries are missing
        return None
    return cv2.error


_made: dict[tuple[type[FieldcamError], type[Exception]], Any] = {}


def _both(ours: type[FieldcamError], opencv_error: type[Exception]) -> Any:
    if (known := _made.get((ours, opencv_error))) is not None:
        return known

    class Both(type):
        # Only the order of lookup names our class, the bases do not: core.errors lists the subclasses of each error as
        # the documented tree, and a class made at run time has no place (and no second code) there.
        def mro(cls) -> list[type]:
            return [cls, *ours.__mro__[: ours.__mro__.index(Exception)], *opencv_error.__mro__]

    def as_plain(error: FieldcamError) -> tuple[Any, ...]:
        return ours, (error.message,), {"details": error.details}

    members = {"__doc__": ours.__doc__, "__module__": ours.__module__, "__reduce__": as_plain}
    made = _made[ours, opencv_error] = Both(ours.__name__, (opencv_error,), members)
    return made
