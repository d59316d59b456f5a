"""The call record: `slipway calls verify` and `erase`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infra.calls.proofs import Proof

calls = typer.Typer(
    help="Every call that was made: prove it, erase it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@calls.command()
def verify() -> None:
    """Prove that no line was changed, taken away, moved or cut off; code 1 if one was."""
    from tasks.calls import verify as prove
    from tasks.wiring import house

    good = True
    for proof in prove(house()):
        good &= proof.good
        sys.stdout.write("\n".join(_told(proof)) + "\n")
    if not good:
        raise typer.Exit(1)


@calls.command()
def erase(
    namespace: Annotated[str, typer.Option(help="Whose payloads.")],
    why: Annotated[str, typer.Option("--why", "-m", help="Reason, for the record.")],
    day: Annotated[str, typer.Option(help="All of this day's, such as 2026-11-26, in UTC.")] = "",
    user: Annotated[str, typer.Option(help="All of this user's.")] = "",
) -> None:
    """Erase what was asked and answered, of a day or of a user; that it was stays provable."""
    from console.people import actor
    from tasks.calls import Erasure
    from tasks.calls import erase as act
    from tasks.wiring import house

    here = house()
    erasure = Erasure(namespace=namespace, day=day, user=user, why=why)
    gone = act(here, actor(here), erasure)
    sys.stdout.write(f"{len(gone)} payloads of {namespace} are erased\n")


def _told(proof: "Proof") -> list[str]:
    """Say what was found of a gateway's journal."""
    head = f"{proof.gateway}: calls {proof.first} to {proof.last}"
    lines = [f"  NOT PROVEN: {fault}" for fault in proof.faults]
    if proof.good:
        since = proof.last - proof.anchored
        lines.append(f"  proven up to call {proof.anchored} by the last anchor; {since} since then")
    if proof.erased:
        lines.append(f"  {proof.erased} payloads are erased, as recorded")
    if proof.unrecorded:
        lines[-1] = f"  {proof.erased} payloads are erased, {proof.unrecorded} by nobody on record"
    if proof.old:
        lines.append(f"  {proof.old} segments are from before the call record and prove nothing")
    return [head, *lines]
