"""Every way a command of the desk can end, as one table of exit codes. One sentence each goes to stderr."""


class DeskError(Exception):
    """Base. The text is one sentence or two: what happened, what is safe, what to do next."""

    exit_code = 1


class WrongPassphrase(DeskError):
    """No passphrase, a wrong one, or one that is too short."""

    exit_code = 3


class NotFound(DeskError):
    """The named call, device, key, bag or file is not there."""

    exit_code = 4


class Refused(DeskError):
    """The recorder refused an order, or the desk refuses to write one that it would refuse."""

    exit_code = 5


class Damaged(DeskError):
    """A file of a bundle or of the home is damaged; what is sound stays usable."""

    exit_code = 6


class NotVerified(DeskError):
    """A signature, a chain or an identity does not match: forged, spliced, or of another recorder."""

    exit_code = 7


class Expired(DeskError):
    """The call has reached its limit."""

    exit_code = 8


class AlreadyThere(DeskError):
    """Something with this name exists and is not replaced."""

    exit_code = 9


class MediumFailed(DeskError):
    """The disk or the stick did not take or give the bytes (full, pulled, read-only)."""

    exit_code = 10


EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "an internal error; please report it",
    2: "the command line is wrong",
    3: "no passphrase, or a wrong one",
    4: "the call, device, key, bag or file is not there",
    5: "refused (by the recorder, see REPLY.txt, or by the desk)",
    6: "damaged: named on stderr; what is sound was used",
    7: "not verified: a signature, a chain or an identity does not match",
    8: "expired: the call has reached its limit",
    9: "it exists already and is not replaced",
    10: "the disk or the stick failed (full, pulled, read-only)",
}
