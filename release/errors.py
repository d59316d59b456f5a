"""What may go wrong, as one tree.

    SlipwayError            one sentence with value, limit and hint; the command ends with code 2
    ├── Invalid             an input breaks a rule (policy, suite, plan, name)
    ├── NotFound            a model, version, release or identity does not exist
    ├── Refused             the caller may not do this (no proof, wrong role, own release)
    ├── Unsafe              an artifact holds what may not be loaded (pickle, code, foreign file)
    ├── Conflict            somebody else was first (a release is open, a port is taken)
    │   └── Fenced          a newer owner or generation exists; the caller must start over
    └── Unavailable         a part does not answer (ledger, registry, agent, package)

Packages below the heart subclass these where a caller must tell cases apart; foreign errors are
translated into the tree once, at the border.
"""


class SlipwayError(Exception):
    """An error that a person can act on.

    Args:
        message: what is wrong, with the value and the limit.
        hint: what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class Invalid(SlipwayError):
    """An input breaks a rule."""


class NotFound(SlipwayError):
    """Something named does not exist."""


class Refused(SlipwayError):
    """The caller may not do this."""


class Unsafe(SlipwayError):
    """An artifact holds what may not be loaded."""


class Conflict(SlipwayError):
    """Somebody else was first."""


class Fenced(Conflict):
    """A newer owner or generation exists."""


class Unavailable(SlipwayError):
    """A part that is needed does not answer."""
