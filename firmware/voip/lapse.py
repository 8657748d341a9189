"""When a call is over that never said so. Pure: a call, the time, and when and how it ended, if it did."""

from firmware.policy.records import Ended
from firmware.units import US_PER_S
from firmware.voip.call import Call
from firmware.voip.dialog import Dialog, Phase

PROCEEDING_US_MAX = 300 * US_PER_S
"""Timer C is more than 180 s (RFC 3261 16.6); an INVITE without any word for longer is over."""

CHALLENGED_US_MAX = 5 * US_PER_S
"""A caller who was asked for credentials tries again at once, or not at all."""

SUCCESSOR_US_MAX = 10 * US_PER_S
"""How long a caller's call waits for the dialog that continues it after a transfer."""

MEDIA_IDLE_US_MAX = 60 * US_PER_S
"""Neither side sends and nobody is on hold: the BYE was not seen."""

DIALOG_IDLE_US_MAX = 4 * 3600 * US_PER_S
"""A dialog without tracks or on hold that says nothing for so long is forgotten."""

SESSION_GRACE_S = 32
"""RFC 4028 10: the end is sent min(32, a third of the interval) s before it runs out; later it is over."""


def lapsed(call: Call, now_mono_us: int) -> tuple[int, Ended] | None:
    """(when it ended, how), None while it goes on."""
    dialog = call.dialog
    if dialog is None:
        return None
    if call.over_mono_us is not None:
        waited = now_mono_us - call.over_mono_us > SUCCESSOR_US_MAX
        return (call.over_mono_us, Ended.TRANSFER) if waited and not _rings(call.successor, now_mono_us) else None
    silent_us = now_mono_us - dialog.heard_mono_us
    if dialog.phase is Phase.CHALLENGED and silent_us > CHALLENGED_US_MAX:
        return dialog.heard_mono_us, Ended.FAULT
    if dialog.phase is Phase.PROCEEDING and silent_us > PROCEEDING_US_MAX:
        return now_mono_us, Ended.FAULT
    return _lapsed_answered(call, dialog, silent_us, now_mono_us)


def _rings(successor: Dialog | None, now_mono_us: int) -> bool:
    return successor is not None and now_mono_us - successor.heard_mono_us <= PROCEEDING_US_MAX


def _lapsed_answered(call: Call, dialog: Dialog, silent_us: int, now_mono_us: int) -> tuple[int, Ended] | None:
    idle_us = call.media_idle_us(now_mono_us)
    if idle_us is not None:
        return (now_mono_us - idle_us, Ended.FAULT) if idle_us > MEDIA_IDLE_US_MAX else None
    expired = dialog.expires_s is not None and silent_us > (dialog.expires_s + SESSION_GRACE_S) * US_PER_S
    if call.answered_mono_us is not None and (expired or silent_us > DIALOG_IDLE_US_MAX):
        return now_mono_us, Ended.FAULT
    return None
