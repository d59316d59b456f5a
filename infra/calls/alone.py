"""What a call store that one home has for itself says of others: there are none."""

from collections.abc import Mapping, Sequence

from infra.calls.neighbours import Last
from infra.calls.query import Query


class Alone:
    """A store of one home's calls."""

    def forget_elsewhere(self, _query: Query) -> Mapping[str, int]:
        """Forget texts of other homes' calls: there are none."""
        return {}

    def elsewhere(self) -> Sequence[Last]:
        """Say up to when other homes have folded: there are none."""
        return []
