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
        if opened.phase is Phase.PREPARING:
            done.append(release(opened.candidate.model, release_id=opened.id))
        else:
            done.append(rollout(opened.id))
    for model in models():
        done += show(model)
    return done
