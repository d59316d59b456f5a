"""The `slipway` command.

Every heavy import happens inside a command, so that `slipway --help` answers at once.
"""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from release.errors import SlipwayError

app = typer.Typer(
    name="slipway",
    help="Carry models from the registry to production traffic, and back if they disappoint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
identity = typer.Typer(help="Who may act.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(identity, name="identity")

Model = Annotated[str, typer.Argument(help="Registered name, such as docs-router.")]
ReleaseId = Annotated[str, typer.Argument(help="Release id, or a model with one open release.")]
Why = Annotated[str, typer.Option("--why", "-m", help="Reason, for the record.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def up(
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once all is up.")] = False,
) -> None:
    """Start everything on this machine; Ctrl-C or `slipway down` stops it."""
    from console.serve import up as start

    start(detach=detach)


@app.command()
def down() -> None:
    """Stop everything that `up` started here."""
    from console.serve import down as stop

    stop()


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show what serves, what is being released and what runs."""
    from console.views import status as show

    show(as_json=as_json)


@app.command()
def release(
    model: Model,
    version: Annotated[
        int | None, typer.Option("--version", "-v", help="Newest if absent.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", "-p", help="TOML; the model's own if absent.")
    ] = None,
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not follow it.")] = False,
) -> None:
    """Release a registered version: build, evaluate, judge, ask, roll out."""
    from console.releasing import release as start

    start(model, version, policy, detach=detach)


@app.command()
def approve(release_id: ReleaseId, why: Why = "") -> None:
    """Say yes to a release that waits for it; never to your own."""
    from console.releasing import answer

    answer(release_id, granted=True, why=why)


@app.command()
def reject(release_id: ReleaseId, why: Why = "") -> None:
    """Say no to a release that waits for an answer."""
    from console.releasing import answer

    answer(release_id, granted=False, why=why)


@app.command()
def rollback(model: Model, why: Why = "") -> None:
    """Lead a model back at once: out of its open release, else to its previous champion."""
    from console.releasing import rollback as lead_back

    lead_back(model, why)


@app.command()
def history(model: Model, *, as_json: Json = False) -> None:
    """Show a model's releases with every event, approval, digest and reason."""
    from console.views import history as show

    show(model, as_json=as_json)


@app.command()
def demo() -> None:
    """Train, release, roll out and put back real models, in a home folder of its own."""
    from console.demo import play

    play()


@identity.command("add")
def identity_add(
    name: Annotated[str, typer.Argument(help="Name; a-z, 0-9, '-'.")],
    role: Annotated[
        str, typer.Option(help="admin, release-manager, requester or viewer.")
    ] = "requester",
    owner: Annotated[str, typer.Option(help="Makes it a machine, owned by this person.")] = "",
    *,
    save: Annotated[
        bool, typer.Option("--save", help="Keep the token under the home folder as the default.")
    ] = False,
) -> None:
    """Add an identity and print its token, once. The first one must be an admin."""
    from console.people import add

    add(name, role, owner, save=save)


@identity.command("list")
def identity_list() -> None:
    """Show every identity."""
    from console.people import show

    show()


@identity.command("disable")
def identity_disable(name: Annotated[str, typer.Argument(help="Name.")]) -> None:
    """Make an identity's token worthless."""
    from console.people import disable

    disable(name)


def run() -> None:
    """Run the command; an error that a person can act on becomes one sentence and code 2."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except SlipwayError as error:
        sys.stderr.write(f"slipway: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
