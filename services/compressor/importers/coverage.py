"""What of a network file could be read: operators with counts, and every node that was refused."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

SHOWN = 200  # refused nodes named in a sentence; the rest are counted by operator
NAME_SHOWN = 80  # characters of a node's name in a sentence


@dataclass(frozen=True, slots=True)
class Refused:
    """One node that has no counterpart here."""

    node: str
    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """Operators of a file by name, and the nodes among them that cannot be served."""

    operators: Mapping[str, int]
    refused: tuple[Refused, ...] = ()

    @property
    def nodes(self) -> int:
        """Nodes of the file's graph."""
        return sum(self.operators.values())

    def sentence(self) -> str:
        """Names every refused node, with the reason and the counts per operator."""
        named = "; ".join(
            f"{entry.node[:NAME_SHOWN]} ({entry.operator}): {entry.reason}"
            for entry in self.refused[:SHOWN]
        )
        counts = Counter(entry.operator for entry in self.refused)
        by_operator = ", ".join(f"{name} x{count}" for name, count in sorted(counts.items()))
        rest = len(self.refused) - SHOWN
        more = f"; and {rest} more" if rest > 0 else ""
        total = f"{len(self.refused)} of {self.nodes} nodes are not supported ({by_operator})"
        return f"{total}: {named}{more}"

    def to_json(self) -> dict[str, object]:
        """A plain value for messages and reports."""
        return {
            "operators": dict(self.operators),
            "refused": [
                {"node": entry.node, "operator": entry.operator, "reason": entry.reason}
                for entry in self.refused
            ],
        }
