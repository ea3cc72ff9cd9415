# SPDX-License-Identifier: MIT
"""What both halves of `ContainerCameraInterface` are built on: something that gives each frame once, and waits for it.

Two things do: the hand-off area (`SharedFrames`) and a device opened with OpenCV (`DeviceFrames`).
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from fieldcam.core.jpeg import Divisor
from fieldcam.provider.scaled_sizes import Size

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class TakenFrame(Protocol):
    """A frame of one's own until it is closed; `fieldcam.provider.held.HeldFrame` is one."""

    @property
    def jpeg(self) -> bytes | None:
        """The very bytes that were captured, where there are some."""

    def metadata(self) -> dict[str, Any]:
        """Return what is known of it."""

    def image(
        self, *, gray: bool = False, divisor: Divisor = 1, out: npt.NDArray[np.uint8] | None = None
    ) -> npt.NDArray[np.uint8]:
        """Return BGR pixels, uint8 of shape (height, width, 3), the caller's own."""

    def close(self) -> None:
        """Let it go."""

    def __enter__(self) -> Self:
        """Hold it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it go."""


class FrameSource(Protocol):
    """Where frames come from."""

    def open(self) -> None:
        """Open it, again if need be."""

    @property
    def is_open(self) -> bool:
        """Whether frames may be asked for, be there some or not."""

    def take(self, stream: str = "main", *, only_files: bool = False) -> TakenFrame:
        """Wait for the next frame; the caller closes it.

        Args:
            stream: `main` or `lores`.
            only_files: the JPEG itself is wanted, where there is one.

        Raises:
            SharedVolumeError, CaptureServiceError: none came in time, or it is not open.
        """

    def describe(self) -> dict[str, Any]:
        """Return the metadata of the frame taken last, else of the newest there is; empty when nothing is known."""

    def size(self) -> Size | None:
        """Return width and height of its full frames, None when that is not known yet."""

    def pause(self) -> None:
        """Let go of what costs something; the next `take` goes on."""

    def close(self) -> None:
        """Let go of everything, also from another thread: a `take` that waits there ends with an error."""
