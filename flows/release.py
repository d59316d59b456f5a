"""Carry one candidate as far as it can go."""

from prefect import flow

from flows.rollout import rollout
from release.releases import Phase
from tasks.open import at_work, open_or_find, reject
from tasks.prepare import build_variant, evaluate_variants, judge_offline


@flow(name="release", flow_run_name="release {model}", persist_result=False)
def release(model: str, version: int | None = None, release_id: str | None = None) -> str:
    """Build, evaluate and judge a candidate, then carry it as far as it can go now.

    Args:
        model: registered name.
        version: registered version; the newest if absent.
        release_id: a release that a proven person has opened; without it, this process opens one
            with its own token.

    Returns:
        A sentence on how the release stands.
    """
    opened = open_or_find(model, version, release_id)
    if opened.phase is Phase.PREPARING:
        with at_work(opened), reject(opened):
            labels = [recipe.label for recipe in opened.policy.variants]
            variants = [build_variant(opened.id, label) for label in labels]
            reports = evaluate_variants(opened.id, variants)
            judge_offline(opened.id, reports)
    return rollout(opened.id)
