"""Who calls models: `slipway keys` and `slipway namespaces`."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from release.callers import Action, Capture, WhenFull

keys = typer.Typer(
    help="Keys by which models are called.", no_args_is_help=True, rich_markup_mode=None
)
namespaces = typer.Typer(
    help="Who owns endpoints and keys, and what is recorded.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Of the namespace.")]
Keep = Annotated[
    Capture | None, typer.Option("--capture", help="What of inputs and outputs is kept.")
]
Sample = Annotated[float | None, typer.Option(help="Part of payloads that is kept, 0..1.")]
Strict = Annotated[
    bool | None, typer.Option("--strict/--no-strict", help="Answer once a line is on the disk.")
]
Full = Annotated[WhenFull | None, typer.Option(help="What to do with what cannot be recorded.")]
By = Annotated[
    str | None, typer.Option(help="Policy of endpoints that have none of their own; '' for none.")
]
Approvers = Annotated[
    list[str] | None,
    typer.Option("--approver", help="Role that alone approves releases; '' leaves it to policies."),
]
Days = Annotated[int | None, typer.Option(help="For how long calls are kept.")]
Megabytes = Annotated[
    int | None, typer.Option("--mb", help="That they take on a host at most; 0 for any.")
]


class Field(StrEnum):
    """What of a namespace's recording may go by each host's settings, as its option is called."""

    CAPTURE = "capture"
    SAMPLE = "sample"
    STRICT = "strict"
    WHEN_FULL = "when-full"
    DAYS = "days"
    MB = "mb"


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for, such as the program's name.")],
    namespace: Annotated[str, typer.Option(help="That owns it.")] = "default",
    endpoint: Annotated[
        list[str] | None, typer.Option(help="That it may ask; * stands for anything.")
    ] = None,
    can: Annotated[
        list[Action] | None, typer.Option(help="What it may do; infer and read if absent.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="NAMESPACE/ENDPOINT:ACTION, beyond its namespace.")
    ] = None,
    user: Annotated[str, typer.Option(help="Person who calls with it; none for programs.")] = "",
    tenant: Annotated[str, typer.Option(help="For whom calls are made.")] = "",
    days: Annotated[int, typer.Option(help="Until it expires; 0 for never.")] = 90,
    requests: Annotated[int, typer.Option(help="Most within a minute; 0 for any.")] = 0,
    tokens: Annotated[int, typer.Option(help="Most within a minute; 0 for any.")] = 0,
) -> None:
    """Make a key and print it, once."""
    from console.calling import make_key

    endpoints = endpoint or ([] if scope else ["*"])
    actions = can or [Action.INFER, Action.READ]
    scopes = [f"{namespace}/{one}:{action}" for one in endpoints for action in actions]
    who = {"namespace": namespace, "user": user, "tenant": tenant}
    make_key(name, (*scopes, *(scope or ())), days=days, requests=requests, tokens=tokens, **who)


@keys.command("list")
def list_keys(*, as_json: Json = False) -> None:
    """Show every key, but no secret."""
    from console.calling import show_keys

    show_keys(as_json=as_json)


@keys.command()
def revoke(id_: Annotated[str, typer.Argument(metavar="ID", help="Of the key.")]) -> None:
    """Make a key worthless, at once."""
    from console.calling import revoke as end

    end(id_)


@namespaces.command("create")
def create_namespace(
    name: Name,
    capture: Keep = None,
    sample: Sample = None,
    strict: Strict = None,
    when_full: Full = None,
    days: Days = None,
    most_mb: Megabytes = None,
    policy: By = None,
    approver: Approvers = None,
) -> None:
    """Make a namespace."""
    from console.calling import make_namespace

    named = {"capture": capture, "sample": sample, "strict": strict}
    limits = {"when_full": when_full, "days": days, "most_mb": most_mb}
    make_namespace(name, {**named, **limits}, _releasing(policy, approver))


@namespaces.command("set")
def set_namespace(
    name: Name,
    capture: Keep = None,
    sample: Sample = None,
    strict: Strict = None,
    when_full: Full = None,
    days: Days = None,
    most_mb: Megabytes = None,
    policy: By = None,
    approver: Approvers = None,
    by_host: Annotated[
        list[Field] | None, typer.Option(help="What goes by each host's settings again.")
    ] = None,
) -> None:
    """Say what of its calls is recorded, and how it releases; what is not named stays."""
    from console.calling import change_namespace

    named = {"capture": capture, "sample": sample, "strict": strict}
    limits = {"when_full": when_full, "days": days, "most_mb": most_mb}
    unsaid = [one.replace("-", "_").replace("mb", "most_mb") for one in by_host or ()]
    change_namespace(name, {**named, **limits}, _releasing(policy, approver), unsaid)


def _releasing(policy: str | None, approvers: list[str] | None) -> dict[str, Any]:
    roles = None if approvers is None else tuple(one for one in approvers if one)
    return {"policy": policy, "roles": roles}


@namespaces.command()
def give(
    endpoint: Annotated[str, typer.Argument(help="Endpoint, and the model of this name.")],
    name: Name,
) -> None:
    """Let a namespace own an endpoint."""
    from console.calling import give as hand

    hand(endpoint, name)


@namespaces.command("list")
def list_namespaces(*, as_json: Json = False) -> None:
    """Show every namespace, what it records and what it owns."""
    from console.calling import show_namespaces

    show_namespaces(as_json=as_json)
