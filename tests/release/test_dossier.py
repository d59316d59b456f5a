"""What a dossier concludes from what the ledger holds."""

from dataclasses import asdict, replace

from release.dossier import Dossier, choose
from release.gates import judge
from release.releases import Chosen, Event
from release.reports import Measurement, Report
from tests.fakes.nouns import a_release, a_report, variant


def told(kind: str, at: float, **data: object) -> Event:
    return Event(kind=kind, at=at, actor="slipway", sentence=kind, data=data)


def rated(report: Report, rate: float) -> Report:
    measured = Measurement(value=rate, n=4)
    return replace(report, metrics={**report.metrics, "throughput_per_s": measured})


GOOD = rated(a_report(0.9, low=0.85, high=0.95, recipe="torch-fp32"), 100)
FAST = rated(a_report(0.9, low=0.85, high=0.95, recipe="openvino-int8"), 400)
BAD = rated(a_report(0.4, low=0.35, high=0.45, recipe="onnx-int8"), 900)
REPORTS = (GOOD, FAST, BAD)


def dossier(*reports: Report, chosen: Report | None = None) -> Dossier:
    release = a_release()
    if chosen is not None:
        fell_on = Chosen(variant=chosen.variant, report=chosen.digest)
        release = replace(release, chosen=fell_on)
    return Dossier(release=release, reports=reports)


def test_the_fastest_that_passes_is_chosen() -> None:
    verdicts = {one.digest: judge(one, a_release().policy.gates) for one in REPORTS}
    assert choose(REPORTS, verdicts) is FAST
    assert choose([BAD], verdicts) is None


def test_every_other_variant_is_told_why_it_was_not_chosen() -> None:
    one = dossier(*REPORTS, chosen=FAST)
    assert one.why_not(FAST) == ""
    assert one.why_not(GOOD) == "passed, but costs more: 100 texts/s, 400 with openvino-int8"
    assert one.why_not(BAD).startswith("fail: accuracy 0.4 < 0.5")
    assert one.shown is FAST


def test_without_a_choice_the_nearest_is_shown() -> None:
    unsure = a_report(0.5, low=0.45, high=0.55)
    one = dossier(BAD, unsure)
    assert one.chosen is None
    assert one.shown is unsure
    assert dossier().shown is None


def test_shares_follow_the_rollout_to_its_end() -> None:
    events = (
        told("opened", 0),
        told("warming", 5, phase="warming", share=0.0),
        told("step", 10, phase="canary", share=5.0),
        told("lease-lapsed", 12),
        told("step", 20, phase="canary", share=100.0),
        told("promoted", 30, phase="baking", share=0.0),
        told("restored", 40, phase="restored", share=0.0),
    )
    one = replace(dossier(), events=events)
    assert one.shares() == [(5, 0), (10, 5), (20, 100), (30, 100), (40, 0)]


def test_a_candidate_that_never_had_traffic_has_no_shares() -> None:
    events = (told("warming", 5, phase="warming", share=0.0), told("x", 9, phase="rejected"))
    assert replace(dossier(), events=events).shares() == []


def test_what_was_noted_of_a_build_is_found() -> None:
    data = {"variant": {"digest": variant(2).digest}, "parity": {"texts": 4.0}}
    one = replace(dossier(), events=(told("built", 1, **data),))
    assert one.built(variant(2))["parity"] == {"texts": 4.0}
    assert one.built(variant(3)) == {}


def test_what_was_not_measured_is_not_called_nothing() -> None:
    unknown = a_report(0.9, low=0.85, high=0.95, recipe="torch-bf16")
    said = dossier(FAST, unknown, chosen=FAST).why_not(unknown)
    assert said == "passed, but its throughput beside openvino-int8 is not known"


def test_a_report_of_the_first_kind_can_still_be_read() -> None:
    body = GOOD.as_json()
    for name in ("confusion", "calibration", "labels", "slice_differences"):
        del body[name]
    body["champion"] = asdict(variant(1))
    read = Report.from_json(body)
    assert read.champion is not None and read.champion.variant == variant(1)
    assert (read.metrics, read.confusion) == (GOOD.metrics, ())
