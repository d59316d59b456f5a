import pytest

from release.errors import Invalid
from release.policy import Policy, Releasing, floors
from release.releases import Desired
from release.routes import Serving
from tests.fakes.nouns import POLICY, SHADOWED


def test_a_policy_reads_back_from_its_text() -> None:
    policy = Policy.parse(POLICY)
    assert [recipe.label for recipe in policy.variants] == ["torch-fp32", "openvino-int8"]
    assert [step.share for step in policy.plan.steps] == [5, 25, 100]
    assert Policy.frozen(policy.text) == policy


def test_the_floor_can_only_make_a_policy_stricter() -> None:
    floor = '[approval]\ncount = 2\n[[gates]]\nmetric = "latency_p99_ms"\nat_most = 100\n'
    policy = Policy.parse(POLICY, floor=floor)
    assert policy.approval.count == 2
    assert policy.gates[-1].metric == "latency_p99_ms"
    assert policy.digest != Policy.parse(POLICY).digest
    assert Policy.frozen(policy.text) == policy
    lower = Policy.parse(POLICY, floor="[approval]\ncount = 0\n")
    assert lower.approval.count == 1


def test_a_namespace_says_who_approves_over_whatever_policy_and_floor() -> None:
    floor = '[approval]\ncount = 2\n[[gates]]\nmetric = "latency_p99_ms"\nat_most = 100\n'
    says = Releasing(policy="strict", roles=("admin",))
    for platform, count, gates in ((floor, 2, 1), ("", 1, 0)):
        policy = Policy.parse(POLICY, floor=floors(platform, says.floor))
        assert (policy.approval.roles, policy.approval.count) == (("admin",), count)
        assert len(policy.floor_gates) == gates
        assert Policy.frozen(policy.text) == policy
        assert policy.digest != Policy.parse(POLICY, floor=floors(platform)).digest
    assert Policy.parse(POLICY, floor=floors("", Releasing().floor)) == Policy.parse(POLICY)
    for wrong in ({"policy": "../x"}, {"roles": ("king",)}):
        with pytest.raises(Invalid):
            Releasing(**wrong)


def test_how_a_variant_is_served_is_part_of_it() -> None:
    assert Policy.parse(POLICY).serving == Serving()
    text = POLICY + '\n[serving]\nreplicas = 3\ntune = "latency"\nthreads = 2\nmemory_mb = 900\n'
    asked = Serving(replicas=3, tune="latency", threads=2, memory_mb=900)
    assert Policy.frozen(Policy.parse(text).text).serving == asked
    assert Desired(model="docs", policy_text=text).route().serving == asked
    assert Desired(model="docs").route().serving == Serving()


BAD = {
    "no replica": (
        POLICY + "\n[serving]\nreplicas = 0\n",
        "[serving] replicas must be within 1..64, not 0",
    ),
    "half a replica": (
        POLICY + "\n[serving]\nreplicas = 1.5\n",
        "[serving] replicas must be a whole number",
    ),
    "a tune of another kind": (
        POLICY + "\n[serving]\ntune = 3\n",
        "[serving] tune cannot be 3. (it is throughput or latency)",
    ),
    "too many threads": (
        POLICY + "\n[serving]\nthreads = 257\n",
        "[serving] threads must be within 0..256, not 257",
    ),
    "an unknown name of serving": (
        POLICY + "\n[serving]\ncopies = 2\n",
        "[serving] has no 'copies'",
    ),
    "not toml": ("[[[", "The policy is not TOML"),
    "unknown table": (POLICY + "\n[gate]\nx=1\n", "policy has no 'gate'"),
    "unknown metric": (
        POLICY.replace('"accuracy"', '"acuracy"', 1),
        "A gate names 'acuracy', which no suite measures. (measured are accuracy",
    ),
    "two demands": (
        POLICY.replace("at_least = 0.5", "at_least = 0.5\nat_most = 1"),
        "must hold exactly one demand",
    ),
    "text for a number": (
        POLICY.replace("at_least = 0.5", 'at_least = "0.5"'),
        "[[gates]] at_least must be a number to 1e+09, not '0.5'",
    ),
    "nan": (
        POLICY.replace("at_least = 0.5", "at_least = nan"),
        "must be a number to 1e+09, not nan",
    ),
    "unknown variant": (
        POLICY.replace("torch-fp32", "torch-int3"),
        "No variant is called 'torch-int3'. (known are torch-fp32, torch-bf16,",
    ),
    "no variants": (
        POLICY.replace('["torch-fp32", "openvino-int8"]', "[]"),
        "at least one variant",
    ),
    "narrowing": (POLICY.replace("share = 25", "share = 4"), "Each step must widen the canary"),
    "not to the end": (POLICY.replace("share = 100", "share = 90"), "must reach 100 percent"),
    "shadow last": (
        POLICY.replace("share = 100", "shadow = 100"),
        "The last step must reach 100 percent",
    ),
    "shadow after a share": (
        POLICY.replace("share = 25", "shadow = 25"),
        "Each step must widen the canary, unlike 5 %, 25 % in the shadow, 100 %.",
    ),
    "no shadow": (
        SHADOWED.replace("shadow = 50", "shadow = 0"),
        "must be above 0 and at most 100 percent, not 0.",
    ),
    "the same shadow twice": (
        SHADOWED.replace("{share = 5,", "{shadow = 50,"),
        "unlike 50 % in the shadow, 50 % in the shadow, 25 %, 100 %.",
    ),
    "share and shadow": (
        POLICY.replace("share = 5,", "share = 5, shadow = 20,"),
        "A step has a share or a shadow, not 5 and 20 both. (see [plan] in the policy)",
    ),
    "wide shadow": (
        SHADOWED.replace("shadow = 50", "shadow = 101"),
        "A step's shadow must be above 0 and at most 100 percent, not 101.",
    ),
    "no share": (POLICY.replace("share = 25, ", ""), "Each step of [plan] needs a share"),
    "negative soak": (
        POLICY.replace("soak_seconds = 10, least", "soak_seconds = -1, least", 1),
        "must not be negative",
    ),
    "lease": (
        POLICY.replace("lease_seconds = 15", "lease_seconds = 0"),
        "[live] lease_seconds must be within 1..3600, not 0",
    ),
    "budget": (POLICY.replace("harm_budget = 0.05", "harm_budget = 2"), "between 0 and 1, not 2"),
    "approvals": (POLICY.replace("count = 1", "count = -1"), "count must be within 0..10, not -1"),
    "no suite": (POLICY.replace('path = "suite"', ""), "[suite] path must be a plain text"),
    "table as value": ("plan = 3\n" + POLICY.replace("[plan]", "[plans]"), "policy has no 'plans'"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_broken_policy_is_refused_with_a_sentence(text: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        Policy.parse(text)
    assert message in str(caught.value)


def test_a_policy_without_gates_is_refused() -> None:
    gateless = POLICY.split("[[gates]]")[0] + POLICY[POLICY.index("[approval]") :]
    with pytest.raises(Invalid, match="no evidence never passes"):
        Policy.parse(gateless)


def test_a_comment_of_the_team_is_no_floor() -> None:
    text = POLICY.replace("[plan]", "# floor\n[plan]")
    kept = Policy.parse(text, floor="[approval]\ncount = 2\n")
    assert Policy.frozen(kept.text) == kept
    with pytest.raises(Invalid, match="not TOML"):
        Policy.parse(POLICY.replace("[plan]", "\x1e floor\n[plan]"))


@pytest.mark.parametrize("guard", ["deadline_ms = -5", "trip_after = 0", "canary_ms = 0"])
def test_a_guard_that_cannot_be_is_refused(guard: str) -> None:
    with pytest.raises(Invalid, match="must be within 1"):
        Policy.parse(POLICY + guard)
