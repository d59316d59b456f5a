"""Every noun comes out of the ledger as it went in."""

from dataclasses import replace
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.ledger import Change, Ledger
from release.policy import Policy
from release.releases import (
    Approval,
    Chosen,
    Desired,
    Event,
    GatewayStatus,
    Phase,
    Release,
    ReplicaStatus,
)
from release.reports import Bin, Measurement, Profile, Report
from release.variants import Candidate, Variant
from tests.fakes.nouns import POLICY
from tests.infra.world import MODEL

# What no database can hold is not asked for: half a surrogate pair and, in PostgreSQL, NUL.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
floats = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**53)
variants = st.builds(
    Variant, model=st.just(MODEL), version=counts, recipe=texts, digest=texts, size_bytes=counts
)
some = st.none() | variants
policies = st.sampled_from(
    [Policy.parse(POLICY), Policy.parse(POLICY, floor="[approval]\ncount = 2\n")]
)
json = st.recursive(
    st.none() | st.booleans() | counts | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
releases = st.builds(
    Release,
    id=texts,
    candidate=st.builds(Candidate, model=st.just(MODEL), version=counts),
    requester=texts,
    policy=policies,
    suite=texts,
    opened_at=floats,
    stable=some,
    stable_policy=texts,
    phase=st.sampled_from(Phase),
    verdict=texts,
    chosen=st.none() | st.builds(Chosen, variant=variants, report=texts),
    step=st.integers(0, 1000),
    since=st.none() | floats,
    waiting_for=texts,
    not_before=floats,
    reason=texts,
    closed_at=st.none() | floats,
)
events = st.builds(
    Event,
    kind=texts,
    at=floats,
    actor=texts,
    sentence=texts,
    data=st.dictionaries(texts, json, max_size=3),
    release=st.just(""),
    model=texts,
)
measured = st.dictionaries(
    texts,
    st.builds(Measurement, value=floats, n=counts, low=st.none() | floats, high=st.none() | floats),
    max_size=3,
)
profile = {
    "variant": variants,
    "metrics": measured,
    "slices": st.dictionaries(texts, measured, max_size=2),
    "confusion": st.lists(st.lists(counts, max_size=2).map(tuple), max_size=2).map(tuple),
    "calibration": st.lists(
        st.builds(Bin, n=counts, confidence=floats, accuracy=floats), max_size=2
    ).map(tuple),
}
reports = st.builds(
    Report,
    **profile,
    suite=texts,
    confidence=floats,
    labels=st.lists(texts, max_size=2).map(tuple),
    champion=st.none() | st.builds(Profile, **profile),
    differences=measured,
    slice_differences=st.dictionaries(texts, measured, max_size=2),
)
approvals = st.builds(
    Approval,
    release=texts,
    who=texts,
    role=texts,
    granted=st.booleans(),
    why=texts,
    at=floats,
    until=floats,
    variant=texts,
    report=texts,
    policy=texts,
)
desires = st.builds(
    Desired,
    model=st.just(MODEL),
    champion=some,
    canary=some,
    canary_percent=floats,
    lease_until=floats,
    previous=some,
    policy_text=texts,
)
gateways = st.builds(
    GatewayStatus,
    gateway=texts.map(lambda name: f"a/{name}"),
    endpoint=texts,
    generation=counts,
    lapsed=st.booleans(),
    tripped=texts,
    at=floats,
)
replicas = st.builds(
    ReplicaStatus,
    agent=st.just("a"),
    endpoint=texts,
    digest=texts,
    ready=st.booleans(),
    message=texts,
    pid=counts,
    memory_bytes=counts,
    restarts=counts,
    number=counts,
    at=floats,
)
numbers = count(1)

# One database for all examples of a test: each example leaves its rows behind.
few = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@few
@given(releases, events)
def test_releases_and_events(ledger: Ledger, release: Release, event: Event) -> None:
    number = next(numbers)
    fresh = replace(release, id=f"{number}-{release.id}", stable=None, phase=Phase.PREPARING)
    fresh = replace(fresh, candidate=Candidate(model=f"m{number}", version=1))
    said = replace(event, release=fresh.id)
    ledger.open_release(fresh, said)
    assert ledger.release(fresh.id) == fresh
    assert [one for _, one in ledger.events(fresh.id)] == [said]
    claim = ledger.claim(fresh.candidate.model, "one", 10, 0.0)
    moved = replace(release, id=fresh.id, candidate=fresh.candidate)
    ledger.commit(claim, Change(release=moved, expected=0, events=(event,)), 0.0)
    assert ledger.release(fresh.id) == moved
    committed = replace(event, data={**event.data, "generation": 0})
    assert [one for _, one in ledger.events()][-1] == committed


@few
@given(reports, approvals)
def test_reports_and_approvals(ledger: Ledger, report: Report, approval: Approval) -> None:
    release = _opened(ledger)
    ledger.add_report(release.id, report)
    [kept] = ledger.reports(release.id)
    assert kept == report
    assert kept.digest == report.digest
    given_ = replace(approval, release=release.id)
    said = Event(kind="approved", at=0.0, actor="ada", sentence="yes")
    ledger.approve(given_, said)
    assert ledger.approvals(release.id) == [given_]


def _opened(ledger: Ledger) -> Release:
    number = next(numbers)
    release = Release(
        id=f"{number}",
        candidate=Candidate(model=f"m{number}", version=1),
        requester="rita",
        policy=Policy.parse(POLICY),
        suite="suite",
        opened_at=0.0,
    )
    ledger.open_release(release, Event(kind="opened", at=0.0, actor="ada", sentence="opened"))
    return release


@few
@given(desires)
def test_what_is_desired(ledger: Ledger, wanted: Desired) -> None:
    claim, before = ledger.claim(MODEL, "one", 10, 0.0), ledger.desired(MODEL)
    change = Change(desired=wanted, expected=before.generation)
    after = ledger.commit(claim, change, 0.0)
    assert after == replace(wanted, generation=after.generation) == ledger.desired(MODEL)
    assert after.generation in (before.generation, before.generation + 1)


@few
@given(gateways, replicas)
def test_what_is_observed(ledger: Ledger, gateway: GatewayStatus, replica: ReplicaStatus) -> None:
    ledger.observe([], [], "a")
    ledger.observe([gateway], [replica], "a")
    assert ledger.gateways(gateway.endpoint) == [gateway]
    assert ledger.replicas(replica.endpoint) == [replica]
