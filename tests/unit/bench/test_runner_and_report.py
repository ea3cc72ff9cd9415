# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from fieldcam.bench import report, runner
from fieldcam.bench.row import NotMeasuredError, Plan, Progress, Row, Verdict
from fieldcam.bench.runner import Failure, Outcome, Part
from fieldcam.bench.samples import summarize
from fieldcam.cli.bench import bench
from fieldcam.core.errors import ControlError

PLAN = Plan.small(None)


def line(name: str, verdict: Verdict = "pass") -> Row:
    return Row(
        row=name,
        what="a thing",
        ours="40 ms",
        baseline="100 ms",
        ratio=0.4,
        bar="≤ 30 ms",
        verdict=verdict,
        notes=("beside nothing",),
        samples={"thing_seconds": summarize([0.04, 0.02])},
    )


@contextmanager
def silent(_label: str, _steps: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


def giving(*rows: Row) -> Callable[[Plan, Progress], list[Row]]:
    return lambda _plan, _progress: list(rows)


def failing(error: Exception) -> Callable[[Plan, Progress], list[Row]]:
    def measure(_plan: Plan, _progress: Progress) -> list[Row]:
        raise error

    return measure


@pytest.mark.parametrize(
    "error", [NotMeasuredError("no disk"), ControlError("no disk"), OSError("no disk"), ValueError("no disk")]
)
def test_what_cannot_be_measured_is_said_and_does_not_keep_the_rest_from_it(error: Exception) -> None:
    parts = [Part(("P8", "P12"), failing(error)), Part(("P6",), giving(line("P6")))]

    outcome = runner.run(PLAN, runner.ROWS, silent, parts)

    assert [row.row for row in outcome.rows] == ["P6"]
    assert [failure.row for failure in outcome.failures] == ["P8", "P12"]
    assert all("no disk" in failure.reason for failure in outcome.failures)


def test_a_mistake_of_the_benchmark_itself_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        runner.run(PLAN, runner.ROWS, silent, [Part(("P6",), failing(KeyError("x")))])


def test_only_the_wanted_rows_are_measured_and_printed() -> None:
    parts = [Part(("P8", "P12"), giving(line("P8"), line("P12"))), Part(("P6",), failing(OSError("not wanted")))]

    outcome = runner.run(PLAN, ["P12"], silent, parts)

    assert [row.row for row in outcome.rows] == ["P12"]
    assert outcome.failures == ()


def test_every_row_has_a_measurement_and_make_up_needs_a_checkout(tmp_path: Path) -> None:
    quick, full = runner.parts(PLAN), runner.parts(Plan.full(None, tmp_path))

    assert {name for part in quick for name in part.rows} == set(runner.ROWS)
    assert len(full) == len(quick) + 1


def test_a_bar_that_falls_short_is_printed_as_short() -> None:
    outcome = Outcome((line("P6", "short"), line("P8")), (Failure("P12", "no disk"),), 12.0)

    text = report.as_text(outcome, {"cores": 2}, version="1.2.3", quick=False)

    assert "SHORT" in text
    assert "P12: NOT MEASURED: no disk" in text
    assert "1 bars hold, 1 fall short, 1 not measured; 12 s" in text
    assert "beside nothing" in text
    assert "fieldcam 1.2.3 on cores 2" in text


def test_small_sizes_are_said_to_mean_nothing() -> None:
    text = report.as_text(Outcome((), (), 1.0), {}, version="1", quick=True)

    assert "the figures mean nothing" in text


def test_the_json_has_the_summary_of_every_set_of_samples() -> None:
    outcome = Outcome((line("P6"),), (Failure("P8", "why"),), 12.0)

    data = json.loads(json.dumps(report.as_json(outcome, {"cores": 2}, version="1.2.3", quick=True, at="now")))

    expected = {"n": 2, "median": 0.03, "p99": 0.04, "min": 0.02, "max": 0.04}
    assert data["rows"][0]["samples"]["thing_seconds"] == expected
    assert data["not_measured"] == [{"row": "P8", "reason": "why"}]
    assert (data["version"], data["machine"], data["quick"]) == ("1.2.3", {"cores": 2}, True)


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([Part(("P6",), giving(line("P6", "short")))], 0),
        ([Part(("P6",), failing(NotMeasuredError("no disk")))], 1),
    ],
)
def test_the_command_ends_with_one_only_when_something_was_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: list[Part], status: int
) -> None:
    monkeypatch.setattr(runner, "parts", lambda _plan: parts)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    file = tmp_path / "result.json"

    result = CliRunner().invoke(bench, ["--quick", "--json", str(file)])

    assert result.exit_code == status, result.output
    assert json.loads(file.read_text(encoding="utf-8"))["machine"]["cores"] >= 1


def test_an_unknown_row_is_refused_by_name() -> None:
    result = CliRunner().invoke(bench, ["--row", "P99"])

    assert result.exit_code == 2
    assert "P99" in result.output
