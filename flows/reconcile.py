"""Take up what was dropped: releases that are due, images that are wrong, trainings."""

from prefect import flow

from flows.release import release
from flows.retrain import retrain
from flows.rollout import rollout
from release.releases import Phase
from tasks.reconcile import due, models, show, untrained


@flow(name="reconcile", persist_result=False)
def reconcile() -> list[str]:
    """Carry on every open release that is due, repair every model's images, then train.

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
        shown = show(model, return_state=True)
        done += shown.result() if shown.is_completed() else [f"{model}: {shown.name}"]
    # A training may take hours, so it comes last; the next run of this flow does not wait for it.
    for asked in untrained():
        state = retrain(asked.model, training_id=asked.id, return_state=True)
        done.append(f"{asked.id}: {state.name}")
    return done
