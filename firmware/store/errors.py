"""What can go wrong in the vault, one class each; ``code`` is a word of ``policy/faults`` or a refusal's reason."""


class VaultError(Exception):
    """Base. The text is one sentence for a person; ``code`` is for lamps, replies and exit codes."""

    code = "INTERNAL"


class NotProvisioned(VaultError):
    """A card of zeros: it has no identity yet."""

    code = "NOT_PROVISIONED"

    def __init__(self, what_to_do: str = "Plug in the provisioning stick.") -> None:
        super().__init__(f"This recorder has no keys yet; nothing was changed. {what_to_do}")


class AlreadyProvisioned(VaultError):
    """Only a never-provisioned card formats itself."""

    code = "ALREADY_PROVISIONED"

    def __init__(self) -> None:
        super().__init__("This card already holds a recorder's state; nothing was changed. Use a fresh card.")


class WrongKind(VaultError):
    """A simulated state under ``run``, a production one under ``simulate``, or another kind of erasable memory."""

    code = "WRONG_KIND"


class IdentityDamaged(VaultError):
    """Neither copy of the identity parses and the file is not zero."""

    code = "IDENTITY_DAMAGED"

    def __init__(self) -> None:
        super().__init__("The card's identity record is damaged in both copies; nothing was changed. Change the card.")


class NoRoot(VaultError):
    """No pair of slot and key table decrypts: nothing is changed, nothing recorded (storage.md 3.4)."""

    code = "NO_ROOT"

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"No key in the erasable memory opens the key table ({detail}); nothing was changed. "
            "Check the memory board's plug and restart; ask the custodian before anything else is tried."
        )


class Rollback(NoRoot):
    """The slot is newer than both tables: somebody put an old copy of the card in."""

    code = "ROLLBACK"

    def __init__(self) -> None:
        super().__init__("the card holds an older state than the memory knows")


class CardFailed(VaultError):
    """The card refused the same write twice. The vault accepts nothing more until it is opened again."""

    code = "CARD_FAILED"

    def __init__(self) -> None:
        super().__init__("The card refused a write twice; what was stored is kept, nothing new is. Change the card.")


class ErasureUnconfirmed(VaultError):
    """R3 or R4 did not read back: there is no way back and none forward; ``Vault.tick`` tries again."""

    code = "ERASURE_UNCONFIRMED"

    def __init__(self) -> None:
        super().__init__(
            "The erasable memory did not confirm that the old key is gone; it is tried again and nothing is stored "
            "meanwhile. Check the memory board's plug."
        )


class RingFull(VaultError):
    """Today's calls alone fill the ring; today is never destroyed for space."""

    code = "RING_FULL"

    def __init__(self) -> None:
        super().__init__("Today's calls fill the storage; they are kept, capture stops until midnight UTC.")


class OrdersFull(VaultError):
    """256 orders are remembered and none of them has ended: a new one is refused, none is forgotten."""

    code = "orders_full"

    def __init__(self) -> None:
        super().__init__("Too many orders were carried out lately; this one was refused. Try again tomorrow.")


class Refused(VaultError):
    """Asked for something that the rules forbid. ``code`` is the reason's word (``policy/holds.Refusal`` and
    others)."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Refused: {reason}; nothing was changed.")
        self.code = reason


class Malformed(ValueError):
    """Bytes that do not follow FORMAT.md. The text names the failure class, never the bytes."""


class BadSeal(Exception):
    """An AEAD or HPKE ciphertext did not open under this key."""
