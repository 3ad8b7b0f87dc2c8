"""What a scenario saw."""

from collections import Counter
from dataclasses import dataclass, field

WRONG_SHOWN = 20


@dataclass
class Report:
    """`counts` of what happened, `figures` that were measured, and `wrongs`: each thing that must not be."""

    scenario: str
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    figures: dict[str, float] = field(default_factory=dict)
    notes: dict[str, object] = field(default_factory=dict)
    wrongs: list[str] = field(default_factory=list)

    def wrong(self, what: str) -> None:
        self.wrongs.append(what)

    def count(self, what: str, times: int = 1) -> None:
        self.counts[what] += times

    def most(self, what: str, value: float) -> None:
        """Keep the greatest value."""
        self.figures[what] = max(self.figures.get(what, value), value)

    def at_most(self, what: str, limit: float) -> None:
        """Wrong when this figure is greater than promised."""
        if self.figures.get(what, 0) > limit:
            self.wrong(f"{what}: {self.figures[what]}, which is more than {limit}")

    def __str__(self) -> str:
        lines = [f"{self.scenario}, seed {self.seed}: {len(self.wrongs)} wrong"]
        for name, value in [*sorted(self.counts.items()), *self.figures.items(), *self.notes.items()]:
            lines.append(f"    {name}: {value}")
        lines += [f"    WRONG {what}" for what in self.wrongs[:WRONG_SHOWN]]
        if len(self.wrongs) > WRONG_SHOWN:
            lines.append(f"    and {len(self.wrongs) - WRONG_SHOWN} more")
        return "\n".join(lines)
