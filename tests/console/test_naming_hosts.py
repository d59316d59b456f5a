"""A host whose name another home of its ledger has is refused when it starts."""

import shutil
import time
from pathlib import Path

import pytest

from console.serve import need_name
from infra.calls.checkpoints import Signer
from infra.ledger import Ledger
from infra.processes import host_name
from infra.settings import Settings
from release.errors import Conflict
from serving.journal import JournalWriter
from tasks.calls import verify
from tasks.wiring import House
from tests.system.home import Home


def test_a_second_host_of_a_name_is_refused_and_a_home_that_comes_back_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    one, other = (Settings(home=tmp_path / name, ledger_url=url) for name in ("one", "other"))
    need_name(one)
    need_name(one)
    with pytest.raises(Conflict, match=r"the host's name .* heard of 0.* s ago. .*SLIPWAY_NAME"):
        need_name(other)
    need_name(Settings(home=other.home, ledger_url=url, name="other"))
    # With its folder it may go to another machine, of another name or of none that is free.
    shutil.move(one.root, tmp_path / "moved")
    moved = Settings(home=tmp_path / "moved", ledger_url=url)
    need_name(moved)
    with pytest.raises(Conflict):
        need_name(Settings(home=moved.home, ledger_url=url, name="other"))
    # A ledger of its own is shared with nobody.
    need_name(Settings(home=other.home))
    assert not (other.root / "ledger.db").exists()
    assert capsys.readouterr().err == ""


def test_a_ledger_or_a_key_that_is_away_keeps_nobody_from_serving(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = Settings(home=tmp_path / "one", ledger_url="postgresql://127.0.0.1:9/nobody")
    need_name(away)
    assert "not known whether another host is called" in capsys.readouterr().err
    lost = Settings(home=tmp_path / "two", ledger_url=f"sqlite:///{tmp_path / 'shared.db'}")
    Signer(lost.calls_secrets)
    (lost.journal / "host_g1").mkdir(parents=True)
    (lost.journal / "host_g1" / "checkpoints").touch()
    (lost.calls_secrets / "signing").unlink()
    need_name(lost)
    assert "signing is gone" in capsys.readouterr().err


def test_up_starts_nothing_where_it_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    ledger = Ledger.open(url)
    ledger.take_name(host_name(), "another", time.time())
    home = Home(tmp_path / "home")
    said = home.slipway("up", "-d", code=2, SLIPWAY_LEDGER_URL=url).stderr
    assert f"has the host's name '{host_name()}'" in said and "SLIPWAY_NAME" in said
    left = home.processes()
    home.slipway("down")
    assert left == []
    wrong = home.slipway("up", "-d", code=2, SLIPWAY_LEDGER_URL=url, SLIPWAY_NAME="Web 2").stderr
    assert "SLIPWAY_NAME cannot be 'Web 2'" in wrong
    ledger.close()


def test_a_host_is_proven_by_the_name_that_it_was_given(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, name="web2", ledger_url=f"sqlite:///{tmp_path / 'l.db'}")
    ledger, signer = Ledger.open(settings.ledger), Signer(settings.calls_secrets)
    JournalWriter(settings.journal, "old/g1").close()
    for gateway in ("web2_g7", f"{host_name()}x_g7"):
        ledger.anchor(signer.checkpoint(gateway=gateway, segment=1, sequence=5, chain=bytes(32)))
    proofs = {one.gateway: one for one in verify(House(settings=settings, ledger=ledger))}
    assert not proofs["web2_g7"].good and proofs[f"{host_name()}x_g7"].elsewhere
    ledger.close()
