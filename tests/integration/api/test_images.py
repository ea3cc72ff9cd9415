# SPDX-License-Identifier: MIT
"""Images and their files, beside a real manager."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldcam.catalog.reader import LIVE_ID_BASE
from tests.api_process import Api, api_process, api_tree
from tests.appliance_tree import wait_until


def test_pages_bring_every_image_once_newest_first(whole: Api) -> None:
    token = whole.bearer()
    made = [whole.local.post("/capture", json={"job_id": 77}).json()["imageId"] for _ in range(5)]
    wait_until(
        lambda: len(whole.tokened.get("/api/v1/images?job_id=77", headers=token).json()["images"]) == 5, "five rows"
    )

    found: list[int] = []
    cursor = None
    while True:
        query = "job_id=77&limit=2" + (f"&cursor={cursor}" if cursor else "")
        page = whole.tokened.get(f"/api/v1/images?{query}", headers=token).json()
        found += [image["id"] for image in page["images"]]
        cursor = page["next"]
        if cursor is None:
            break

    assert found == sorted(made, reverse=True)


def test_live_frames_and_captures_are_listed_together_unless_a_kind_is_asked_for(whole: Api) -> None:
    token = whole.bearer()

    def kinds(query: str) -> set[str]:
        answer = whole.tokened.get(f"/api/v1/images?limit=500{query}", headers=token)
        return {image["kind"] for image in answer.json()["images"]}

    wait_until(lambda: kinds("") == {"live", "capture"}, "both kinds")
    assert kinds("&kind=capture") == {"capture"}
    assert kinds("&kind=live") == {"live"}


def test_an_image_and_its_file(whole: Api) -> None:
    token = whole.bearer()
    said = whole.local.post("/capture", json={"exposure": 40}).json()
    path = f"/api/v1/images/{said['imageId']}"
    image = wait_until(
        lambda: (answer := whole.tokened.get(path, headers=token)).status_code == 200 and answer.json(), "the row"
    )

    file = whole.tokened.get(image["file"], headers=token)
    part = whole.tokened.get(image["file"], headers={**token, "Range": "bytes=2-5"})
    again = whole.tokened.get(image["file"], headers={**token, "If-None-Match": file.headers["ETag"]})
    beyond = whole.tokened.get(image["file"], headers={**token, "Range": "bytes=99999999-"})

    content = Path(said["filepath"]).read_bytes()
    assert (image["filename"], image["exposure_time"], image["simulated"]) == (said["filename"], 40.0, True)
    assert (file.status_code, file.content, file.headers["Content-Type"]) == (200, content, "image/jpeg")
    assert (part.status_code, part.content) == (206, content[2:6])
    assert part.headers["Content-Range"] == f"bytes 2-5/{len(content)}"
    assert (again.status_code, again.content) == (304, b"")
    assert (beyond.status_code, beyond.json()["code"]) == (416, "REQUESTED_RANGE_NOT_SATISFIABLE")
    assert file.headers["X-Simulated"] == "true"


@pytest.mark.parametrize("image_id", [0, 999_999, LIVE_ID_BASE + 10**9, 2**63, 10**30])
@pytest.mark.parametrize("tail", ["", "/file"])
def test_an_image_that_is_not_there(whole: Api, image_id: int, tail: str) -> None:
    answer = whole.tokened.get(f"/api/v1/images/{image_id}{tail}", headers=whole.bearer())

    assert (answer.status_code, answer.json()["code"]) == (404, "IMAGE_NOT_FOUND")


PAYLOADS = [
    "..", "../..", "../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fetc/passwd",
    "..%252f..%252fetc%252fpasswd", "..%00/", "1%00", "%00", "1%0a", "1%0d%0aX-Evil:%201", "/etc/passwd",
    "//etc/passwd", "..\\..\\etc\\passwd", "..%5c..%5cetc%5cpasswd", "%c0%ae%c0%ae%c0%afetc%c0%afpasswd",
    "%e2%88%95etc%e2%88%95passwd", "%ef%bc%8e%ef%bc%8e/etc/passwd", "file:///etc/passwd", "1;ls", "1|id", "$(id)",
    "-1", "+1", "1.0", "1e3", "0x10", "%D9%A1", "%EF%BC%91", "1'--", "1%20OR%201=1", "%27%20OR%20%271", "~root", "nul",
    "1%2e", "1%20", "%e2%80%ae1", "9" * 300, "a" * 300, "latest/..", "latest/file", "latest%2ffile", "%ff", "%",
]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_path_leaves_the_volume(whole: Api, payload: str) -> None:
    token = whole.bearer()
    targets = [f"/api/v1/images/{payload}", f"/api/v1/images/{payload}/file", f"/api/v1/images?cursor={payload}",
               f"/api/v1/images?camera={payload}", f"/api/v1/images/latest?camera={payload}",
               f"/api/docs/assets/{payload}"]  # fmt: skip

    answers = [whole.raw(whole.port, "GET", target, token) for target in targets]

    assert all(status < 500 for status, _ in answers)
    assert not any(b"root:" in body or b"Traceback" in body for _, body in answers)
    assert not any(body.startswith(b"\xff\xd8") for _, body in answers[:2] if payload not in {"%D9%A1", "%EF%BC%91"})


def test_live_routes_go_on_without_the_catalog(whole: Api) -> None:
    token = whole.bearer()
    with api_tree() as tree, tree.capture_process(), api_process(tree) as api:
        token = api.bearer()
        pages = api.tokened.get("/api/v1/images", headers=token)
        latest = api.tokened.get("/api/v1/images/latest", headers=token)
        capture = api.local.post("/capture")

    assert (pages.status_code, pages.json()["code"]) == (503, "CATALOG_UNAVAILABLE")
    assert str(tree.root) not in pages.text
    assert latest.status_code == 200
    assert (capture.status_code, capture.json()["databaseSaved"]) == (200, False)


def test_system_status_has_what_the_manager_says(whole: Api) -> None:
    token = whole.bearer()

    said = wait_until(
        lambda: (
            (status := whole.tokened.get("/api/v1/system/status", headers=token).json())["images_in_queue"] is not None
            and status
        ),
        "the manager answers",
    )

    assert isinstance(said["host_capture_healthy"], bool)
    assert said["disk_usage_percent"] > 0
    assert "MANAGER_NOT_RUNNING" not in {reason["code"] for reason in said["health"]["reasons"]}
