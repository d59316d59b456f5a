"""The ledger: what is desired, what was decided and why. The truth; all else is its image."""

from infra.ledger.change import Change, Claim
from infra.ledger.ledger import Ledger

__all__ = ["Change", "Claim", "Ledger"]
