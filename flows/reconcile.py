"""Take up what was dropped: releases that are due, images that are wrong."""

from prefect import flow

from flows.release import release
from flows.rollout import rollout
from release.releases import Phase
from tasks.reconcile import due, models, show


@flow(name="reconcile", persist_result=False)
def reconcile() -> list[str]:
    """Carry on every open release that is due, and repair every model's images.

    Returns:
        What was done, a sentence each; nothing where all was well.
    """
    done = []
    for opened in due():
        # One that fails must not keep the others waiting: its state tells of it.
        if opened.phase is Phase.PREPARING:
            state = release(opened.candidate.model, release_id=opened.id, return_state=True)
        else:
            state = rollout(opened.id, return_state=True)
        done.append(f"{opened.id}: {state.name}")
    for model in models():
        done += show(model)
    return done
