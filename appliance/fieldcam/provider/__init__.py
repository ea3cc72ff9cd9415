# SPDX-License-Identifier: MIT
"""The library for containers: frames of the host's camera, and a drop-in for cv2.VideoCapture and Picamera2."""

from fieldcam.provider.held import HeldFrame
from fieldcam.provider.provider import Frame, FrameView, ImageProviderConfig, SharedVolumeImageProvider

__all__ = ["Frame", "FrameView", "HeldFrame", "ImageProviderConfig", "SharedVolumeImageProvider"]
