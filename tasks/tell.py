"""The task that tells of a release in Prefect and in the registry."""

from prefect import get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact

from evaluation import markdown
from release.dossier import Dossier
from release.errors import SlipwayError
from tasks.telling import read_dossier, record
from tasks.wiring import house


@task(name="tell", task_run_name="tell of {release_id}", retries=2, retry_delay_seconds=2)
def tell(release_id: str) -> None:
    """Make every picture of a release true: page, registry, artifact.

    A picture that cannot be made is no reason to fail: the reconciler tries again later.
    """
    here = house()
    links = {"Prefect flow run": str(runtime.flow_run.ui_url or "not known")}
    try:
        dossier = record(here, here.ledger.release(release_id), links)
    except SlipwayError as error:
        get_run_logger().warning("the registry is told later: %s", error)
        dossier = read_dossier(here, release_id, links)
    show_artifact(dossier)


def show_artifact(dossier: Dossier) -> None:
    """Show a release as a Markdown artifact on Prefect's page."""
    release = dossier.release
    key = f"release-{release.candidate.model}".replace("_", "-")
    create_markdown_artifact(markdown.render(dossier), key=key, description=release.id)
