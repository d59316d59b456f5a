"""The `slipway` command.

Every heavy import happens inside a command, so that `slipway --help` answers at once.
"""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from console.calls import calls
from console.keys import keys, namespaces
from release.errors import SlipwayError
from release.variants import Task
from release.wording import tame

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
app.add_typer(calls, name="calls")
app.add_typer(keys, name="keys")
app.add_typer(namespaces, name="namespaces")

Model = Annotated[str, typer.Argument(help="Registered name, such as docs-router.")]
ReleaseId = Annotated[str, typer.Argument(help="Release id, or a model with one open release.")]
Version = Annotated[int | None, typer.Option("--version", "-v", help="Newest if absent.")]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", "-p", help="TOML; the model's own if absent.")
]
Why = Annotated[str, typer.Option("--why", "-m", help="Reason, for the record.")]
Labels = Annotated[list[str] | None, typer.Option(help="Label that no text has; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def up(
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once all is up.")] = False,
    unguarded: Annotated[bool, typer.Option("--open", help="Ask callers for no key.")] = False,
) -> None:
    """Start everything on this machine; Ctrl-C or `slipway down` stops it."""
    from console.serve import up as start

    start(detach=detach, unguarded=unguarded)


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
def suite(
    table: Annotated[Path, typer.Argument(help="CSV, TSV or JSON Lines.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    task: Annotated[Task, typer.Option(help="As of the model.")] = Task.TEXT_CLASSIFICATION,
    text: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    label: Annotated[str, typer.Option(help="Column of the labels.")] = "label",
    entities: Annotated[str, typer.Option(help="Column of the entities, as JSON.")] = "entities",
    other: Annotated[str, typer.Option(help="Column of each pair's other text.")] = "other",
    similarity: Annotated[str, typer.Option(help="Column of 0..1 for each pair.")] = "similarity",
    encoding: Annotated[str, typer.Option(help="Such as utf-8 or gb18030.")] = "utf-8",
    train: Annotated[float, typer.Option(help="Part set apart for training, 0..1.")] = 0.0,
    slices: Annotated[
        list[str] | None, typer.Option("--slice", help="Column to report by; may be repeated.")
    ] = None,
    also: Labels = None,
) -> None:
    """Make an evaluation suite out of a table of texts and what a model should say of them."""
    from console.bringing import suite as make
    from evaluation.tables import Columns

    named = {"text": text, "label": label, "entities": entities, "other": other}
    told = tuple(slices or ())
    columns = Columns(task=task, similarity=similarity, encoding=encoding, slices=told, **named)
    make(table, folder, columns, train=train, also=also or ())


@app.command()
def register(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="Of weights, config.json and tokenizer.json.")],
) -> None:
    """Check a folder of files and register it as a model's next version."""
    from console.bringing import register as add

    add(model, folder)


@app.command()
def policy(
    model: Model,
    suite: Annotated[Path, typer.Option(help="Folder of the suite.")],
    accuracy: Annotated[float | None, typer.Option(help="Least, of classes, 0..1.")] = None,
    entity_f1: Annotated[float | None, typer.Option(help="Least, of entities, 0..1.")] = None,
    spearman: Annotated[float | None, typer.Option(help="Least, of vectors, 0..1.")] = None,
    *,
    show: Annotated[bool, typer.Option("--show", help="Print it; write nothing.")] = False,
) -> None:
    """Write a first policy for a model, to be looked at and changed."""
    from console.bringing import policy as write

    least = {"accuracy": accuracy, "entity_f1": entity_f1, "spearman": spearman}
    write(model, suite, least, show=show)


@app.command()
def traffic(
    model: Model,
    file: Annotated[Path, typer.Argument(help="JSON Lines with texts, such as a suite's split.")],
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 20.0,
    seconds: Annotated[float, typer.Option(help="How long; 0 until Ctrl-C.")] = 0.0,
) -> None:
    """Ask a served model with the texts of a file, over and over; say who answered, and how."""
    from console.asking import send

    send(model, file, rate, seconds)


@app.command()
def release(
    model: Model,
    version: Version = None,
    policy: PolicyFile = None,
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not follow it.")] = False,
) -> None:
    """Release a registered version: build, evaluate, judge, ask, roll out."""
    from console.releasing import release as start

    start(model, version, policy, detach=detach)


@app.command()
def plan(
    model: Model,
    version: Version = None,
    policy: PolicyFile = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what a release would do and cost now, without doing it; code 1 if it is barred."""
    from console.planning import plan as show

    show(model, version, policy, as_json=as_json)


@app.command()
def watch(
    release_id: Annotated[
        str, typer.Argument(help="Release id, or a model: its open or else newest release.")
    ],
    *,
    picture: Annotated[
        Path | None, typer.Option(hidden=True, help="Draw it as it stands into this SVG file.")
    ] = None,
) -> None:
    """Watch a release live until it is closed; code 0 if it was promoted, else 1."""
    from console.watching import watch as look_on

    look_on(release_id, picture)


@app.command()
def retrain(
    model: Model,
    training: Annotated[
        Path | None, typer.Option("--training", "-t", help="TOML; the model's own if absent.")
    ] = None,
    *,
    release_it: Annotated[
        bool, typer.Option("--release", help="Release what comes out, in your name.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not follow it.")] = False,
) -> None:
    """Train a model's next version with your own program, and take what it registers."""
    from console.training import retrain as start

    start(model, training, release=release_it, detach=detach)


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
def report(
    release_id: Annotated[
        str, typer.Argument(help="Release id, or a model: its open release, else its newest.")
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write instead.")] = None,
    *,
    browse: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the report of a release as one HTML page: what was measured, judged, rolled out."""
    from console.reporting import report as show

    show(release_id, out, browse=browse)


@app.command()
def demo() -> None:
    """Train, release, roll out and put back real models, in a home folder of its own."""
    from console.demo import play

    play()


@identity.command("add")
def identity_add(
    name: Annotated[str, typer.Argument(help="Name; a-z, 0-9, '-'.")],
    role: Annotated[
        str, typer.Option(help="admin, release-manager, requester, viewer or auditor.")
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
        sys.stderr.write(f"slipway: {tame(str(error))}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
