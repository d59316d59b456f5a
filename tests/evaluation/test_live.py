from evaluation.live import judge_live
from release.evidence import Tally
from release.gates import Decision
from release.policy import Live

LIVE = Live(worse_by=0.05, harm_budget=0.05)
HEALTHY = Tally(requests=2_000, failures=2)


def decisions(canary: Tally, *, share: float, stable: Tally = HEALTHY) -> set[Decision]:
    return {one.decision for one in judge_live(stable, canary, LIVE, next_share=share)}


def test_no_requests_prove_nothing() -> None:
    assert decisions(Tally(), share=25) == {Decision.INCONCLUSIVE}


def test_a_small_next_share_needs_little_evidence_and_a_large_one_much() -> None:
    few = Tally(requests=40)
    assert decisions(few, share=25) == {Decision.PASS}
    assert decisions(few, share=100) == {Decision.INCONCLUSIVE}
    assert decisions(Tally(requests=200), share=100) == {Decision.PASS}


def test_a_canary_that_fails_often_is_found_out_soon() -> None:
    findings = judge_live(HEALTHY, Tally(requests=20, failures=8), LIVE, next_share=25)
    assert findings[0].decision is Decision.FAIL
    assert findings[0].reason.startswith(
        "canary's failure rate is 40.0% (8 of 20), the champion's 0.1% (2 of 2000): worse by at"
    )


def test_slow_answers_count_like_failures() -> None:
    findings = judge_live(HEALTHY, Tally(requests=40, slow=30), LIVE, next_share=25)
    assert [one.decision for one in findings] == [Decision.PASS, Decision.FAIL]


def test_a_champion_that_fails_as_often_excuses_the_canary() -> None:
    ill = Tally(requests=2_000, failures=800)
    assert Decision.FAIL not in decisions(Tally(requests=200, failures=80), share=25, stable=ill)


def test_without_a_champions_traffic_nothing_is_proven_bad() -> None:
    broken = Tally(requests=500, failures=500)
    assert Decision.FAIL not in decisions(broken, share=100, stable=Tally())
    assert Decision.PASS not in {
        one.decision for one in judge_live(Tally(), broken, LIVE, next_share=100)[:1]
    }
