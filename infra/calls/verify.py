"""Proves a gateway's journal: every line in its place and unchanged, up to the last anchor.

What is found is told of the first line that is wrong; whatever follows it is read on from what that
line says of itself, so that a second fault elsewhere is seen as well. The end of a journal can only
be held against checkpoints: what was cut off behind the last of them, nobody can know.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from infra.calls.chain import EPOCH, HEADER, Link, linked, taken_apart
from infra.calls.checkpoints import FILE, Checkpoint, genuine, read
from infra.calls.lines import CallLine, erased, read_call
from infra.calls.onrecord import ways_to
from infra.calls.proofs import MOST_NAMED, Fault, Known, Proof
from infra.calls.segments import paths_in
from infra.calls.vault import SHORTEST, Vault
from release.errors import SlipwayError, Unavailable

Segment = tuple[int, bytes]
"""Number and content."""


class _Header(msgspec.Struct, frozen=True):
    segment: int
    gateway: str
    first: int
    before: str


_HEX = re.compile(r"[0-9a-f]{64}")
_header = msgspec.json.Decoder(_Header).decode


def prove(gateway: str, segments: Iterable[Segment], known: Known) -> Proof:
    """Prove a journal.

    Args:
        gateway: name of its folder.
        segments: in order; each is looked at once.
        known: what to hold it against.
    """
    walk = _Walk(gateway, known)
    for number, content in segments:
        walk.take(number, content)
    walk.end()
    return walk.proof


def segments_in(place: Path) -> Iterator[Segment]:
    """Read the segments of a gateway, in order, one at a time."""
    for path in paths_in(place):
        # One that is too old may go at any moment, on record.
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        yield int(path.stem), content


def beside(place: Path) -> Path:
    """Name the file of the checkpoints beside the segments of a gateway."""
    return place / FILE


class _Walk:
    """A proof under way."""

    def __init__(self, gateway: str, known: Known) -> None:
        self.proof = Proof(gateway=gateway)
        self._known = known
        self._chain: bytes | None = None
        """Of the line before; None before the first header."""

        self._segment, self._line = 0, 0
        self._unmet: dict[bytes, tuple[int, int]] = {}
        """Chain to segment and sequence, of the checkpoints that no line has met."""

        self._anchors: set[bytes] = set()
        self._told = False
        self._take_checkpoints()

    def take(self, number: int, content: bytes) -> None:
        """Walk over a segment."""
        before, self._segment, self._line = self._segment, number, 0
        if self._chain is not None and number != before + 1:
            self._fault(f"segments {before + 1} to {number - 1} are missing.")
        if self._chain is None and not content.startswith(HEADER):
            self.proof.old += 1
            return
        lines = content.split(b"\n")
        # What follows the last newline was never finished: it tells of nothing that was answered.
        for line in lines[:-1]:
            self._line += 1
            self._told = False
            self._look(line)
        if lines[-1]:
            self._torn = (number, self._line + 1)

    _torn: tuple[int, int] | None = None

    def end(self) -> None:
        """Hold the end against the checkpoints that no line has met."""
        if self._torn is not None and self._torn[0] != self._segment:
            number, line = self._torn
            said = "the line is torn, and the journal goes on after it."
            self.proof.faults.append(Fault(segment=number, line=line, what=said))
        for segment, sequence in self._unmet.values():
            if segment <= self._known.removed:
                continue  # of segments that went lawfully
            there, self._segment = self._segment, self._segment or segment
            self._line, self._told = 0, False
            if not there:
                self._fault(f"no segment is there, and a checkpoint knows call {sequence}.")
            elif sequence > self.proof.last:
                self._fault(
                    f"the journal ends at call {self.proof.last}, and a checkpoint knows call "
                    f"{sequence}: its end was cut off."
                )
            else:
                self._segment = segment
                self._fault(
                    f"what a checkpoint knows at call {sequence} is not there: lines "
                    "were changed or cut off, or the chain was made anew."
                )
            return

    def _take_checkpoints(self) -> None:
        """Read what is signed already, so that what is signed from here on is not missed."""
        beside = self._known.beside
        for number, one in read(beside) if beside is not None else ():
            self._take_checkpoint(one, f"line {number} of {FILE}")
        for where, anchor in self._known.anchors:
            if (chain := self._take_checkpoint(anchor, where)) is not None:
                self._anchors.add(chain)

    def _take_checkpoint(self, one: Checkpoint | None, where: str) -> bytes | None:
        """Expect the line that a checkpoint is of; give its chain, or None where it is none."""
        if one is None or not self._genuine(one):
            self._fault(f"{where} is no checkpoint that was signed with this key.")
            return None
        chain = bytes.fromhex(one.chain)
        self._unmet[chain] = (one.segment, one.sequence)
        return chain

    def _genuine(self, checkpoint: Checkpoint) -> bool:
        if checkpoint.gateway != self.proof.gateway or not _HEX.fullmatch(checkpoint.chain):
            return False
        public = self._known.public
        return public is None or genuine(checkpoint, public)

    def _look(self, line: bytes) -> None:
        link = taken_apart(line)
        if link is None:
            self._fault("this is no line of a journal.")
            return
        if self._line == 1:
            self._begin(link)
        elif link.body.startswith(HEADER):
            self._fault("a header stands in the midst of a segment.")
        call = _called(link)
        if self._chain is not None and linked(self._chain, link.body) != link.chain:
            self._fault(self._why(call))
        self._chain = link.chain
        if call is not None:
            self._count(call, link)
        elif link.sealed is not None:
            self._fault("this is no call.")
        self._meet(link.chain)

    def _begin(self, link: Link) -> None:
        """Look at the header of a segment."""
        told, chain = _headed(link)
        mine = (self._segment, self.proof.gateway)
        if told is None or (told.segment, told.gateway.replace("/", "_")) != mine:
            self._fault("its header is missing or of another segment.")
        if self._chain is not None:
            return
        self._chain = chain
        if told is None or (chain == EPOCH and told.first == 1):
            return
        self.proof.last = told.first - 1
        self._meet(chain)
        if self._segment - 1 > self._known.removed:
            self._fault(f"all before it is missing, up to call {self.proof.last}.")

    def _why(self, call: CallLine | None) -> str:
        """Say what befell a line that does not follow from the one before it."""
        expected = self.proof.last + 1
        if call is None:
            return f"it does not follow from the line before; call {expected} would come next."
        if call.sequence > expected:
            return f"calls {expected} to {call.sequence - 1} are missing before it."
        if call.sequence < expected:
            return f"call {call.sequence} does not belong here; call {expected} would."
        return f"call {call.sequence} was changed, or something before it is missing."

    def _count(self, call: CallLine, link: Link) -> None:
        if call.sequence != self.proof.last + 1:
            self._fault(self._why(call))
        self.proof.calls += 1
        self.proof.first = self.proof.first or call.sequence
        self.proof.last = call.sequence
        sealed = (link.sealed or b"").decode()
        if bool(sealed) != bool(call.commitment):
            self._fault(f"the payload of call {call.sequence} was taken away or put there.")
        elif sealed:
            self._open(call, sealed)

    def _open(self, call: CallLine, sealed: str) -> None:
        """Look at a payload.

        Raises:
            Unavailable: the master key cannot be read.
        """
        vault = self._known.vault
        overwritten = any(self._covers(call, what) for what in ways_to(call, self.proof.gateway))
        if erased(sealed):
            if len(sealed) % 4 or len(sealed) < SHORTEST:
                said = f"the payload of call {call.sequence} was cut, and not only erased."
                self._fault(said)
            self._count_erased(call, lawful=overwritten)
        elif vault is None:
            return
        elif overwritten and "-" in sealed:
            # No payload has dashes: an erasure is under way, or was interrupted.
            self.proof.unfinished += 1
        else:
            self._read(vault, call, sealed, gone=overwritten or self._day_is_erased(call))

    def _read(self, vault: Vault, call: CallLine, sealed: str, *, gone: bool) -> None:
        """Read a payload, which is not to be there any more where it is gone on record."""
        try:
            payload = vault.open(call, sealed)
        except Unavailable:
            raise
        except SlipwayError as error:
            self._fault(str(error))
            return
        if payload is None:
            self._count_erased(call)
        elif gone:
            self.proof.standing += 1
            self.proof.first_standing = self.proof.first_standing or call.sequence

    def _count_erased(self, call: CallLine, *, lawful: bool = False) -> None:
        self.proof.erased += 1
        if lawful or self._day_is_erased(call):
            return
        self.proof.unrecorded += 1
        if self.proof.unrecorded <= MOST_NAMED:
            self.proof.nobodys.append(call.sequence)

    def _day_is_erased(self, call: CallLine) -> bool:
        """Whether an erasure of its day is recorded: nothing can be sealed with its key again."""
        return (call.namespace, call.key.partition("/")[2]) in self._known.erasures

    def _covers(self, call: CallLine, what: str) -> bool:
        """Whether an erasure is recorded that a call is not too young for."""
        return call.at_us <= self._known.erasures.get((call.namespace, what), -1)

    def _meet(self, chain: bytes) -> None:
        if self._unmet.pop(chain, None) is None or not self.proof.good:
            return
        self.proof.signed = self.proof.last
        if chain in self._anchors:
            self.proof.anchored = self.proof.last

    def _fault(self, what: str) -> None:
        if self._told:
            return
        self._told = bool(self._line)
        self.proof.faults.append(Fault(segment=self._segment, line=self._line, what=what))


def _called(link: Link) -> CallLine | None:
    if link.sealed is None:
        return None
    try:
        return read_call(link.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _headed(link: Link) -> tuple[_Header | None, bytes]:
    """Give a header, and the chain that it says was before it."""
    try:
        told = _header(link.body)
        return told, bytes.fromhex(told.before)
    except (msgspec.MsgspecError, ValueError):
        return None, EPOCH
