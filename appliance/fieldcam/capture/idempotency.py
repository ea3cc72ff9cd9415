# SPDX-License-Identifier: MIT
"""One `Idempotency-Key` is one capture, for a day, whatever is killed in between (contract section 4).

The sidecar is the memory: it has the key, the user and a hash of the request, and it is durable before anybody is
answered. So a client that never got its answer may ask again, also of a process that was started since.
"""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from fieldcam.core.clock import Clock, Instant
from fieldcam.core.errors import ImageNotFoundError, RequestInvalidError
from fieldcam.core.frame import CaptureRequest, Sidecar
from fieldcam.store.reader import iter_frames
from fieldcam.store.writer import Stored

KEEP_SECONDS = 24 * 3600.0
MAX_KEYS = 10_000

Key = tuple[str, str]


class Idempotency:
    """Remembers which captures were asked for with which key.

    Used by the control thread; only `remember` and `forget_pending` are called by others, one step each.

    Args:
        captures: the folder of captures.
        clock: for the age of a key.
    """

    def __init__(self, captures: Path, clock: Clock) -> None:
        self._captures = captures
        self._clock = clock
        self._stored: OrderedDict[Key, Stored] = OrderedDict()
        self._pending: dict[Key, tuple[str | None, Future[dict[str, Any]]]] = {}
        self._is_loaded = False

    def find(self, request: CaptureRequest) -> Stored | Future[dict[str, Any]] | None:
        """Return the capture of this key, or the answer that is on its way, or None when the key is new.

        Raises:
            RequestInvalidError: the key was used for another request.
        """
        if (key := _key(request)) is None:
            return None
        self._load()
        if key in self._pending:
            sha256, answer = self._pending[key]
            _check_same(request, sha256)
            return answer
        stored = self._stored.get(key)
        if stored is None or self._is_over(stored.sidecar) or not stored.path.exists():
            self._stored.pop(key, None)
            return None
        _check_same(request, stored.sidecar.request_sha256)
        return stored

    def begin(self, request: CaptureRequest, answer: Future[dict[str, Any]]) -> None:
        """Note that a capture is under way."""
        if (key := _key(request)) is not None:
            self._pending[key] = (request.request_sha256, answer)

    def remember(self, request: CaptureRequest, stored: Stored) -> None:
        """Note that a capture is on disk."""
        if (key := _key(request)) is not None:
            self._stored[key] = stored
            if len(self._stored) > MAX_KEYS:
                self._stored.popitem(last=False)

    def forget_pending(self, request: CaptureRequest) -> None:
        """Note that a capture was answered, or failed; after a failure the key may be tried again."""
        if (key := _key(request)) is not None:
            self._pending.pop(key, None)

    def _load(self) -> None:
        """Read the sidecars of the last day, once; nothing is read before a key is used."""
        if self._is_loaded:
            return
        oldest_ms = (self._clock.wall_ns() / 1e9 - KEEP_SECONDS) * 1000
        for frame in iter_frames(self._captures, self._captures):
            if frame.name.wall_ms < oldest_ms:
                continue
            try:
                sidecar = frame.read_sidecar()
            except ImageNotFoundError:
                continue
            if (key := _key(sidecar)) is not None:
                self._stored.setdefault(key, Stored(frame.image, sidecar))
        self._is_loaded = True

    def _is_over(self, sidecar: Sidecar) -> bool:
        return Instant.now(self._clock).seconds_since(sidecar.exposed_at) > KEEP_SECONDS


def _key(asked: CaptureRequest | Sidecar) -> Key | None:
    if not asked.idempotency_key:
        return None
    return (str(asked.user_id), asked.idempotency_key)


def _check_same(request: CaptureRequest, sha256: str | None) -> None:
    if request.request_sha256 != sha256:
        raise RequestInvalidError(
            "Idempotency-Key: was used for another request within a day; use a new key", field="Idempotency-Key"
        )
