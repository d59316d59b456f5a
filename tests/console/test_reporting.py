"""Where a report may be written to, and where not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from console.reporting import report
from release.errors import Invalid
from tasks.wiring import house
from tests.infra.world import opened


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    house.cache_clear()
    yield opened(house().ledger).id
    house().ledger.close()
    house.cache_clear()


@pytest.mark.parametrize("out", ["", ".", "/dev/null", "file/report.html"])
def test_what_is_no_file_is_not_written_over(tmp_path: Path, release: str, out: str) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / out if out.startswith("file") else Path(out)
    with pytest.raises(Invalid, match="is no file|cannot be written"):
        report(release, place, browse=False)
    assert not Path("/dev/null").is_file()


def test_a_report_goes_where_it_is_told(
    tmp_path: Path, release: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report(release, tmp_path / "报告.html", browse=False)
    assert capsys.readouterr().out == f"{tmp_path / '报告.html'}\n"
    assert release in (tmp_path / "报告.html").read_text(encoding="utf-8")
