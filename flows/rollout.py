"""Carry a judged release through approval, canary and bake."""

from prefect import flow

from tasks.carry import carry
from tasks.open import find
from tasks.reconcile import show
from tasks.tell import tell


@flow(name="rollout", flow_run_name="rollout {release_id}", persist_result=False)
def rollout(release_id: str) -> str:
    """Advance a release until it is closed or has long to wait, then tell of it.

    Returns:
        A sentence on how the release stands.
    """
    standing = carry(find(release_id).id)
    tell(standing.id)
    show(standing.candidate.model)
    return f"{standing.id} is {standing.phase}: {standing.reason}"
