"""Train a model's next version with its user's own program."""

from prefect import flow

from flows.release import release as carry
from tasks.retrain import ask_or_find, at_training, open_for, train_version


@flow(name="retrain", flow_run_name="retrain {model}", persist_result=False)
def retrain(model: str, training_id: str | None = None, *, release: bool = False) -> str:
    """Run a model's training and take what it registers; release it if that was asked for.

    Args:
        model: registered name.
        training_id: a training that a proven person has asked for, who also said whether it is to
            be released; without it, this process asks for the kept one with its own token.
        release: whether the version is to be released where this process asks.

    Returns:
        A sentence on what was trained, and on how its release stands.
    """
    asked = ask_or_find(model, training_id, release=release)
    with at_training(asked):
        trained = train_version(model, asked.id)
        opened = open_for(model, asked.id, trained)
    if opened is None:
        return f"{trained.ref} was trained by {asked.id}"
    return carry(model, release_id=opened.id)
