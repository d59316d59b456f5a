"""Keys and namespaces by command."""

import json
from pathlib import Path

from infra.callers.pepper import split
from serving.journal import JournalWriter
from tests.fakes.call_lines import a_call
from tests.system.home import Home


def test_keys_and_namespaces_are_made_changed_and_shown_by_command(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.people()
    said = home.slipway("keys", "create", "app", code=2, who="rita").stderr
    assert "rita is requester and may not make keys" in said
    home.slipway("namespaces", "create", "shop", "--capture", "full", "--days", "7", who="ada")
    home.slipway("namespaces", "set", "shop", "--sample", "0.5", "--mb", "100", who="ada")
    said = home.slipway("namespaces", "give", "docs", "shop", who="ada").stderr
    assert said == "slipway: there is no endpoint 'docs' yet (there are none)\n"
    spaces = json.loads(home.slipway("namespaces", "list", "--json").stdout)
    shop = spaces["shop"]
    assert (shop["capture"], shop["sample"], shop["days"]) == ("full", 0.5, 7)
    assert (shop["policy"], shop["roles"]) == ("", [])
    named = ("--policy", "strict", "--approver", "auditor")
    said = home.slipway("namespaces", "set", "shop", *named, who="ada").stderr
    assert "there is no policy 'strict' in" in said and "nobody is auditor" in said
    home.slipway("namespaces", "set", "shop", "--approver", "admin", who="ada")
    home.slipway("namespaces", "set", "shop", "--strict", who="ada")
    changed = json.loads(home.slipway("namespaces", "list", "--json").stdout)["shop"]
    assert (changed["policy"], changed["roles"]) == ("strict", ["admin"])
    assert (changed["capture"], changed["strict"]) == ("full", True)
    for wrong in (("--days", "99999"), ("--sample", "2"), ("--approver", "nobody")):
        home.slipway("namespaces", "set", "shop", "--policy", "b", *wrong, code=2, who="ada")
        home.slipway("namespaces", "create", "bank", "--policy", "b", *wrong, code=2, who="ada")
    assert json.loads(home.slipway("namespaces", "list", "--json").stdout) == {
        "default": spaces["default"],
        "shop": changed,
    }
    assert (shop["most_mb"], shop["bytes"], spaces["default"]["most_mb"]) == (100, 0, 0)
    assert shop["endpoints"] == ["docs"] and spaces["default"]["endpoints"] == []
    asked = ("--namespace", "shop", "--endpoint", "docs*", "--can", "infer", "--user", "ann")
    limits = ("--requests", "60", "--days", "1", "--scope", "default/*:read")
    made = home.slipway("keys", "create", "app", *asked, *limits, who="ada")
    id_, secret = split(made.stdout.strip())
    assert made.stderr == ""
    listed = home.slipway("keys", "list", "--json").stdout
    (found,) = json.loads(listed)
    assert secret not in listed and found["id"] == id_
    assert found["scopes"] == ["shop/docs*:infer", "default/*:read"]
    assert found["quota"] == {"requests": 60, "tokens": 0} and found["user"] == "ann"
    other = home.slipway("keys", "create", "b", "--endpoint", "dcs", "--days", "1", who="ada")
    home.slipway("keys", "revoke", split(other.stdout.strip())[0], who="ada")
    assert "there is no endpoint 'dcs' (did you mean 'docs'?)" in other.stderr
    home.slipway("keys", "revoke", id_, who="ada")
    # Its id can be read, and typed again, in a narrow terminal as well.
    table = home.slipway("keys", "list", COLUMNS="60").stdout
    assert id_ in table
    writer = JournalWriter(home.house.settings.journal, "host/g1")
    for number in range(1, 201):
        writer.write(a_call(number, namespace="shop"), b"x" * 1_000)
    writer.close()
    assert "0.3 of 100" in home.slipway("namespaces", "list").stdout
    said = home.slipway("namespaces", "set", "shop", "--mb", "-1", code=2, who="ada").stderr
    assert "Calls may take 0..1000000000 MB, not -1." in said
    words = ("namespaces", "set", "default", "--strict", "--mb", "9")
    home.slipway(*words, who="ada", SLIPWAY_RECORD_DAYS="9")
    found = json.loads(home.slipway("namespaces", "list", "--json").stdout)["default"]
    assert (found["strict"], found["most_mb"], found["days"]) == (True, 9, 180)
    assert found["by_host"] == ["capture", "days", "sample", "when_full"]
    home.slipway("namespaces", "set", "default", "--by-host", "mb", who="ada")
    both = ("--by-host", "strict", "--no-strict")
    said = home.slipway("namespaces", "set", "default", *both, code=2, who="ada").stderr
    assert "strict cannot be said and left to hosts at once" in said
    listed = home.slipway("namespaces", "list", SLIPWAY_CAPTURE="hash").stdout
    default, shop = listed.splitlines()[-3:-1]
    assert "hash *" in default and "9" not in default.split() and shop.count("*") == 1
    assert listed.splitlines()[-1].startswith("* as this host's settings have it")
    home.house.ledger.close()


def test_up_is_refused_where_it_would_be_open_to_others(tmp_path: Path) -> None:
    home = Home(tmp_path)
    everywhere = "0.0.0.0"  # noqa: S104 - held against what refuses it
    said = home.slipway("up", "--open", "-d", code=2, SLIPWAY_HOST=everywhere).stderr
    assert "loopback alone" in said and home.processes() == []
