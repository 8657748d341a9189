"""What a check found: each thing that is not as it should be, with its place. Nothing found means sound."""

from dataclasses import dataclass, field
from enum import IntEnum


class Severity(IntEnum):
    DAMAGED = 1
    """Bytes are missing or changed; the rest stays usable."""
    UNVERIFIED = 2
    """A signature, a chain or an identity does not match: forged, spliced, or of another recorder."""


@dataclass(frozen=True)
class Finding:
    severity: Severity
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.severity.name.lower()}: {self.where}: {self.what}"


@dataclass
class Findings:
    """In the order of the check."""

    items: list[Finding] = field(default_factory=list)

    def damaged(self, where: str, what: str) -> None:
        self.items.append(Finding(Severity.DAMAGED, where, what))

    def unverified(self, where: str, what: str) -> None:
        self.items.append(Finding(Severity.UNVERIFIED, where, what))

    @property
    def worst(self) -> Severity | None:
        return max((item.severity for item in self.items), default=None)

    def __bool__(self) -> bool:
        return bool(self.items)
