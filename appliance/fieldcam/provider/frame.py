# SPDX-License-Identifier: MIT
"""What a provider gives: frames of the caller's own, and frames that are only looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fieldcam.core.frame import Sidecar
from fieldcam.provider.held import Source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame.

    Attributes:
        image: BGR, uint8, shape (height, width, 3), or (height, width) in grey; the caller's own.
        metadata: the sidecar and `age`, in seconds when the frame was handed over. A frame that came before its file
            was written has an empty `filename`.
        sequence: rises with every frame of the camera within a boot.
        source: `ring` or `file`.
    """

    image: npt.NDArray[np.uint8]
    metadata: dict[str, Any]
    sequence: int
    source: Source


@dataclass(frozen=True)
class FrameView:
    """A frame that is looked at without a copy, valid within the `with` block.

    Attributes:
        image: BGR, uint8, shape (height, width, 3), read-only.
        sidecar: what is known of the frame.
        age: in seconds, when the view was opened.
        source: `ring` or `file`.
    """

    image: npt.NDArray[np.uint8]
    sidecar: Sidecar
    age: float
    source: Source

    @property
    def sequence(self) -> int:
        """Rises with every frame of the camera within a boot."""
        return self.sidecar.sequence

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The sidecar and `age`; made when it is asked for, as a view costs less than that."""
        return {**self.sidecar.to_dict(), "age": self.age}
