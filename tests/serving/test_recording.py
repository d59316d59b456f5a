"""What of a call is recorded: every one its line, and of its payload what the namespace wants."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from infra.calls.lines import CallLine, Entry, Payload
from infra.calls.vault import Vault
from release.callers import Capture, Recording, WhenFull
from serving.gateway.recording import CallRecorder, _said, everywhere
from serving.journal import NoRoom
from serving.keeping import Keeper
from serving.replica.messages import Kind
from tests.fakes.wire_replica import Stand, standing, variant

CLASSIFIES, TAGS, EMBEDS = "text-classification", "token-classification", "feature-extraction"

Work = Callable[[Stand], Awaitable[None]]


def entries(stand: Stand) -> list[tuple[CallLine, Payload | None]]:
    """Read what was written, and open what was sealed."""
    vault, found = Vault(stand.folder / "secrets"), []
    for path in sorted((stand.folder / "journal").glob("*/*.jsonl")):
        for line in path.read_bytes().splitlines():
            if line.startswith(b'{"call":'):
                entry = msgspec.json.decode(line, type=Entry)
                call = msgspec.json.decode(entry.call, type=CallLine)
                found.append((call, vault.open(call, entry.sealed)))
    return found


def with_stand(work: Work, capture: Capture, task: str = CLASSIFIES, **more: object) -> None:
    async def whole() -> None:
        async with standing(capture=capture) as stand:
            await stand.serve(variant(1), task=task, **more)  # type: ignore[arg-type]
            await work(stand)

    asyncio.run(whole())


@pytest.mark.parametrize("capture", list(Capture))
def test_a_call_has_its_line_and_the_payload_that_is_wanted(capture: Capture) -> None:
    async def work(stand: Stand) -> None:
        text = "mail ann@example.com, alpha"
        answer = await stand.client.post(
            "/predict/tiny", json={"text": text}, headers={"x-request-id": "abc"}
        )
        assert answer.status_code == 200
        ((line, payload),) = entries(stand)
        told = (line.id, line.endpoint, line.model, line.version, line.digest, line.variant)
        arm = variant(1)
        assert told == ("abc", "tiny", "tiny", 1, arm.digest, arm.recipe)
        assert (line.outcome, line.status, line.arm, line.protocol) == (
            *("ok", 200, "champion"),
            "predict",
        )
        assert (line.items, line.sequence, line.capture) == (1, 1, capture.value)
        assert line.total_us > 0 and line.at_us > 1.7e15
        if capture is Capture.NONE:
            assert payload is None and not line.commitment
            return
        assert payload is not None
        wrote = json.loads(bytes(payload.output))
        if capture is Capture.HASH:
            assert payload.input == [sha256((payload.salt + text).encode()).hexdigest()]
            assert isinstance(wrote, str) and len(wrote) == 64
            return
        assert wrote[0]["label"] == answer.json()["label"]
        left = text if capture is Capture.FULL else "mail [email], alpha"
        assert payload.input == [left]

    with_stand(work, capture)


def test_what_no_recogniser_can_redact_is_hashed() -> None:
    async def work(stand: Stand) -> None:
        body = {"model": "tiny", "input": "ann"}
        assert (await stand.client.post("/v1/embeddings", json=body)).status_code == 200
        ((line, payload),) = entries(stand)
        assert (line.capture, line.protocol) == ("hash", "openai")
        assert payload is not None and payload.input != ["ann"]

    with_stand(work, Capture.REDACTED, EMBEDS)


def test_words_of_entities_are_left_out_of_what_is_redacted() -> None:
    async def work(stand: Stand) -> None:
        answer = await stand.client.post("/predict/tiny", json={"text": "beta here"})
        assert "text" in answer.json()["entities"][0]
        ((_, payload),) = entries(stand)
        assert payload is not None and b'"text"' not in bytes(payload.output)

    with_stand(work, Capture.REDACTED, TAGS)


@pytest.mark.parametrize(
    ("path", "body", "status", "protocol"),
    [
        ("/predict/tiny", {"texts": []}, 400, "predict"),
        ("/v2/models/tiny/infer", {"inputs": 1}, 400, "v2"),
        ("/v2/models/tiny/versions/9/infer", {"inputs": []}, 400, "v2"),
        ("/v1/embeddings", {"model": "tiny", "input": "a"}, 400, "openai"),
    ],
)
def test_a_call_that_is_refused_beforehand_has_its_line(
    path: str, body: object, status: int, protocol: str
) -> None:
    async def work(stand: Stand) -> None:
        answer = await stand.client.post(path, json=body)
        assert answer.status_code == status
        ((line, payload),) = entries(stand)
        assert (line.endpoint, line.status, line.protocol) == ("tiny", status, protocol)
        assert (line.outcome, line.arm, line.version, payload) == ("refused", "", 0, None)
        assert line.error

    with_stand(work, Capture.FULL)


@pytest.mark.parametrize("capture", [Capture.NONE, Capture.FULL])
@pytest.mark.parametrize("where", ["field", "input", "output", "deadline", "long"])
def test_what_went_wrong_is_told_without_a_clients_personal_data(
    where: str, capture: Capture
) -> None:
    said = "ann@example.com 13812345678"
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    bodies: dict[str, dict[str, object]] = {
        "field": {"text": "a", said: 1},
        "long": {"text": "a", "x" * 1_800 + f"{said} " * 200: 1},
        "input": {"inputs": [{"name": said, "shape": [1], "datatype": "FP32", "data": [1]}]},
        "output": {"inputs": [tensor], "outputs": [{"name": said}]},
        "deadline": {"text": "a"},
    }
    body = bodies[where]
    headers = {"x-slipway-deadline-ms": said} if where == "deadline" else {}

    async def work(stand: Stand) -> None:
        path = "/v2/models/tiny/infer" if "inputs" in body else "/predict/tiny"
        answer = await stand.client.post(path, json=body, headers=headers)
        assert answer.status_code == 400 and "ann@example.com" in answer.text
        ((line, _),) = entries(stand)
        assert "ann" not in line.error and "138" not in line.error
        assert where == "long" or re.search("<(29|36) characters>", line.error)

    with_stand(work, capture)


@pytest.mark.parametrize("before", range(0, 38, 3))
def test_what_an_error_is_cut_through_is_left_out(before: int) -> None:
    # So many addresses that all that is looked at is short enough once they are taken out.
    why = "x" * before + " " + "ann.elizabeth.smith@mail.example.com, " * 100
    assert set(_said(why)) <= set("x [email],")


def test_whoever_only_tries_addresses_fills_no_disk() -> None:
    async def work(stand: Stand) -> None:
        for path in ("/predict/other", "/v1/embeddings", "/v2/models/none/infer", "/x"):
            assert (await stand.client.post(path, json={})).status_code in (400, 404)
        assert (await stand.client.get("/v2/models/tiny")).status_code == 200
        assert entries(stand) == []

    with_stand(work, Capture.FULL)


def test_a_call_that_fails_has_one_line_and_its_input() -> None:
    async def work(stand: Stand) -> None:
        stand.replicas[variant(1).digest].fails = Kind.INTERNAL
        answer = await stand.client.post("/predict/tiny", json={"text": "alpha"})
        assert answer.status_code == 500
        ((line, payload),) = entries(stand)
        assert (line.outcome, line.status, line.version) == ("internal", 500, 1)
        assert line.digest == variant(1).digest
        assert payload is not None and payload.input == ["alpha"]
        assert bytes(payload.output) == b"null"

    with_stand(work, Capture.FULL)


def test_what_is_refused_after_the_answer_has_one_line_all_the_same() -> None:
    async def work(stand: Stand) -> None:
        # Another task than the one that the replica told when it was met.
        stand.replicas[variant(1).digest].task = EMBEDS
        body = {"text": "alpha", "probabilities": True}
        answer = await stand.client.post("/predict/tiny", json=body)
        assert answer.status_code == 400
        assert [line.outcome for line, _ in entries(stand)] == ["ok"]

    with_stand(work, Capture.NONE)


class Full(Keeper):
    """A keeper whose disk is full until it is told otherwise."""

    why = "the disk is full"

    @property
    def trouble(self) -> str:
        return self.why


def test_the_log_says_why_and_where_and_no_client_is_told_that(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def work(stand: Stand) -> None:
        master = stand.folder / "secrets" / "master"
        (stand.folder / "secrets" / "days" / "default").mkdir(parents=True)
        (stand.folder / "secrets" / "days" / "default" / "2026-01-01").write_bytes(b"x")
        for _ in range(3):
            answer = await stand.client.post("/predict/tiny", json={"text": "alpha"})
            assert answer.status_code == 503 and str(stand.folder) not in answer.text
        assert capfd.readouterr().err.count(f"cannot be recorded: The secret at {master}") == 1

    with_stand(work, Capture.FULL)


@pytest.mark.parametrize("when", list(WhenFull))
def test_where_nothing_can_be_recorded_nothing_is_answered(when: WhenFull) -> None:
    async def work(stand: Stand) -> None:
        keeper = Full(stand.recorder._keeper.writer)
        vault = Vault(stand.folder / "secrets")
        stand.record(CallRecorder(keeper, vault, everywhere(Recording(when_full=when))))
        asked = stand.client.post(
            "/predict/tiny", json={"text": "alpha"}, headers={"x-slipway-deadline-ms": "300"}
        )
        answer = await asked
        assert answer.status_code == 503
        assert answer.json()["error"].startswith("This call cannot be recorded. (every call")
        assert answer.headers["retry-after"] == "1"
        assert keeper.refused == 1 and entries(stand) == []
        assert stand.replicas[variant(1).digest].budgets == [], "nothing is computed for nobody"
        waiting = asyncio.ensure_future(stand.client.post("/predict/tiny", json={"text": "alpha"}))
        await asyncio.sleep(0.2)
        keeper.why = ""
        expected = 200 if when is WhenFull.BLOCK else 503
        assert (await waiting).status_code == expected
        assert len(entries(stand)) == int(when is WhenFull.BLOCK)

    with_stand(work, Capture.NONE)


@pytest.mark.parametrize("when", list(WhenFull))
def test_an_answer_that_finds_no_room_at_the_last_moment_does_not_leave(when: WhenFull) -> None:
    async def work(stand: Stand) -> None:
        class Filling(Keeper):
            """Takes a line only after it has refused three."""

            tries = 0

            def keep(self, line: CallLine, sealed: bytes = b"", *, strict: bool = False) -> None:
                self.tries += 1
                if self.tries < 4:
                    raise NoRoom("the disk is full")
                super().keep(line, sealed, strict=strict)

        keeper = Filling(stand.recorder._keeper.writer)
        vault = Vault(stand.folder / "secrets")
        stand.record(CallRecorder(keeper, vault, everywhere(Recording(when_full=when))))
        answer = await stand.client.post("/predict/tiny", json={"text": "alpha"})
        if when is WhenFull.BLOCK:
            assert answer.status_code == 200
            assert [line.outcome for line, _ in entries(stand)] == ["ok"]
        else:
            assert answer.status_code == 503 and keeper.refused == 1
            assert entries(stand) == []

    with_stand(work, Capture.NONE)


@pytest.mark.parametrize("ids", ["each", "one"])
def test_a_sample_touches_payloads_and_never_lines(ids: str) -> None:
    async def work(stand: Stand) -> None:
        keeper, vault = stand.recorder._keeper, Vault(stand.folder / "secrets")
        recording = Recording(capture=Capture.FULL, sample=0.5)
        stand.record(CallRecorder(keeper, vault, everywhere(recording)))
        for number in range(100):
            # Whoever calls every call the same has no more say in it.
            headers = {"x-request-id": f"r{number}" if ids == "each" else "r"}
            await stand.client.post("/predict/tiny", json={"text": "alpha"}, headers=headers)
        found = entries(stand)
        assert len(found) == 100
        kept = {line.sequence for line, payload in found if payload is not None}
        # One in ten million is outside.
        assert 20 < len(kept) < 80
        assert {line.sequence for line, _ in found if line.capture == "full"} == kept

    with_stand(work, Capture.NONE)


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    Vault(tmp_path / "secrets").seal("default", 0.0, b"{}", "")
    files = [one for one in (tmp_path / "secrets").rglob("*") if one.is_file()]
    assert len(files) == 2 and all(one.stat().st_mode & 0o077 == 0 for one in files)


@pytest.mark.parametrize(
    ("header", "body", "kept"),
    [
        ("", "mine-7", "mine-7"),
        ("ours", "mine-7", "ours"),
        *(("", odd, "") for odd in ("", "a b", "订单", "x" * 129, None)),
        ("b c", "mine-7", ""),
    ],
)
def test_a_request_of_v2_is_called_what_its_client_calls_it(
    header: str, body: str | None, kept: str
) -> None:
    async def work(stand: Stand) -> None:
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["beta"]}
        headers = {"x-request-id": header} if header else {}
        for inputs, status in ([tensor], 200), ([], 400):
            sent = {"id": body, "inputs": inputs}
            answer = await stand.client.post("/v2/models/tiny/infer", json=sent, headers=headers)
            assert answer.status_code == status
            line = stand.records[-1]
            assert line.id == answer.headers["x-request-id"]
            assert re.fullmatch(kept or "[0-9a-f]{32}", line.id)
            assert status != 200 or answer.json().get("id") == body

    with_stand(work, Capture.NONE)


def test_calls_that_have_one_id_in_their_bodies_are_divided_all_the_same() -> None:
    async def work(stand: Stand) -> None:
        await stand.serve(variant(1), variant(2), generation=2)
        route = stand.table.endpoints["tiny"].route
        stand.table.take({"tiny": replace(route, canary_percent=50.0, generation=3)})
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["beta"]}
        for _ in range(40):
            sent = {"id": "1", "inputs": [tensor]}
            assert (await stand.client.post("/v2/models/tiny/infer", json=sent)).status_code == 200
        assert {(one.id, one.version) for one in stand.records} == {("1", 1), ("1", 2)}

    with_stand(work, Capture.NONE)


def test_a_line_names_the_rule_by_which_its_variant_was_chosen() -> None:
    async def work(stand: Stand) -> None:
        stable, canary = variant(1), variant(2)

        async def asked(path: str = "/predict/tiny", **headers: str) -> str:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            body = tensors if "v2" in path else {"text": "beta"}
            answer = await stand.client.post(path, json=body, headers=named)
            assert answer.status_code == 200
            return stand.records[-1].rule

        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["beta"]}
        tensors = {"inputs": [tensor]}
        # Nobody is tried beside a champion that is alone, however short the time.
        assert await asked() == await asked(x_slipway_deadline_ms="900") == "sole"
        assert await asked("/v2/models/tiny/versions/1/infer") == "pinned"
        await stand.serve(stable, canary, generation=2)
        assert await asked() == "split:call"
        assert await asked(x_slipway_key="ann") == "split:header"
        assert await asked(x_slipway_deadline_ms="900") == "hurried"
        endpoint = stand.table.endpoints["tiny"]
        endpoint.tripped = "it failed"
        assert await asked() == "tripped"
        # Whoever comes in time or not, it is not tried any more.
        assert await asked(x_slipway_deadline_ms="900") == "tripped"
        await stand.serve(stable, canary, generation=3)
        endpoint.lease_ends = 0.0
        assert await asked() == "lapsed"
        await stand.client.post("/predict/tiny", json={"text": 7})
        assert stand.records[-1].rule == ""
        assert not any(one.shadow for one in stand.records)

    with_stand(work, Capture.NONE)
