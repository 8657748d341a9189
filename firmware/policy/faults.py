"""Every fault and alarm: its code, what the lamp shows, what happened, what is safe, what to do. One table,
nothing else.

A *fault* stops capture (nothing more is kept on that line, or on any); an *alarm* does not. Both light FAULT; the
pattern
tells them apart on the desk, and the words are in ``REPLY.txt``, the metrics and the guides.
"""

from dataclasses import dataclass
from enum import StrEnum


class Pattern(StrEnum):
    OFF = "off"
    STEADY = "steady"
    SLOW = "slow"
    """1 Hz."""
    FAST = "fast"
    """4 Hz."""


@dataclass(frozen=True)
class Fault:
    code: str
    stops_capture: bool
    lamp: Pattern
    happened: str
    safe: str
    action: str


def _fault(code: str, happened: str, safe: str, action: str) -> Fault:
    return Fault(code, True, Pattern.STEADY, happened, safe, action)


def _alarm(code: str, happened: str, safe: str, action: str) -> Fault:
    return Fault(code, False, Pattern.SLOW, happened, safe, action)


TABLE: dict[str, Fault] = {
    fault.code: fault
    for fault in (
        _fault(
            "CODEC_LOST",
            "The sound adapter stopped delivering audio.",
            "What was recorded is kept; the stretch is a gap.",
            "Push the adapter's plug home; recording resumes by itself. If it does not, change the adapter.",
        ),
        _fault(
            "GATE_MISMATCH",
            "What was kept did not match what was permitted.",
            "Capture stopped at once; nothing more is kept.",
            "Switch the recorder off and call the maintainer: it must not be used until the cause is known.",
        ),
        _fault(
            "CARD_FAILED",
            "The card refused a write twice.",
            "Closed calls are kept; nothing new is recorded.",
            "It is tried again as soon as nobody is on a line. Export what is held, then change the card.",
        ),
        _fault(
            "CARD_BEHIND",
            "The card has not taken audio for a minute.",
            "Audio up to the limit is in memory; the call continues.",
            "Change the card: it is too slow or failing.",
        ),
        _fault(
            "NO_ROOT",
            "No key in the erasable memory opens the key table.",
            "Nothing was changed; nothing is recorded.",
            "Check the memory board's plug, then restart. Ask the custodian before anything else is tried.",
        ),
        _fault(
            "RING_FULL",
            "Today's calls alone fill the storage.",
            "All calls up to now are kept.",
            "Shorten today's load or fit a larger card; recording resumes at midnight UTC.",
        ),
        _fault(
            "SETTINGS_LOST",
            "The site's settings on the card are damaged in both copies.",
            "What was recorded is kept; nothing new is recorded.",
            "Ask the custodian for a SETTINGS order, then restart.",
        ),
        _fault(
            "CLOCK_UNKNOWN",
            "The time of day cannot be trusted.",
            "Stored calls are kept and not exported.",
            "Connect the network or bring a TIME order on a stick.",
        ),
        _fault(
            "NOT_PROVISIONED",
            "This recorder has no keys and no site settings yet.",
            "Nothing is recorded.",
            "Plug in the provisioning stick.",
        ),
        _fault(
            "INTERNAL",
            "The recorder found itself in an impossible state and stopped.",
            "Stored calls are kept.",
            "It restarts by itself; if it happens again, call the maintainer.",
        ),
        _alarm(
            "CARD_SLOW",
            "The card has been slow for more than two seconds.",
            "No audio is lost.",
            "If it happens every day, change the card.",
        ),
        _alarm(
            "CLOCK_SUSPECT",
            "The clock jumped.",
            "Nothing is destroyed early because of it.",
            "Connect the network or bring a TIME order.",
        ),
        _alarm(
            "ERASURE_UNCONFIRMED",
            "A key was to be destroyed and the memory did not confirm it.",
            "Retried until it does.",
            "Check the memory board's plug; report it to the custodian.",
        ),
        _alarm(
            "DEGRADED_MEMORY",
            "Keys are kept in a file, not in erasable memory.",
            "Calls are sealed as always.",
            "Erasure is not proven on this storage: fit the memory board for real use.",
        ),
        _alarm(
            "HOLD_QUOTA_HIGH",
            "Held calls fill more than 70 % of their space.",
            "All holds are in force.",
            "Export and release what is no longer needed.",
        ),
        _alarm(
            "HOLD_REFUSED",
            "A hold was refused because the space for held calls is full.",
            "Existing holds are in force.",
            "Release a hold, then press KEEP or order the hold again.",
        ),
        _alarm(
            "HOLD_LAPSED",
            "A provisional hold was not confirmed in 14 days.",
            "The call follows its ordinary limit.",
            "The custodian should check that this was meant.",
        ),
        _alarm(
            "HOLD_REVIEW_DUE",
            "A hold has reached its review date.",
            "The call stays held.",
            "Extend or release it by an order.",
        ),
        _alarm(
            "HOLD_EXPORT_DUE",
            "A held call has had no sealed export for seven days.",
            "The call is held.",
            "Export it: a single battery-backed memory must not be its only protection.",
        ),
        _alarm(
            "CAPACITY_EXPIRY",
            "The storage was full and the oldest day was destroyed early.",
            "Held calls are kept.",
            "Fit a larger card or shorten the retention.",
        ),
        _alarm(
            "CAPACITY_FORECAST",
            "The storage will be full within a week.",
            "Nothing is lost yet.",
            "Fit a larger card or shorten the retention.",
        ),
        _alarm(
            "DEAD_CHANNEL",
            "A call is going on and nothing can be heard of it.",
            "The call is recorded as it is.",
            "Check the line's cable and the adapter.",
        ),
        _alarm(
            "ONE_SIDED",
            "Only one side of the call can be heard.",
            "The call is recorded as it is.",
            "Check the line's wiring.",
        ),
        _alarm(
            "CALL_NOT_RECORDED",
            "A call was seen and nothing of it was recorded.",
            "The ledger says why.",
            "Look up the reason in the ledger.",
        ),
        _alarm(
            "UNKNOWN_DIRECTION_SHARE",
            "More calls than the site's limit had no known direction.",
            "They were not kept.",
            "Check the ring and loop sense wiring.",
        ),
        _alarm(
            "ENCRYPTED_CALL",
            "A call was encrypted and cannot be recorded.",
            "The ledger has its row.",
            "Ask the telephone provider for an unencrypted trunk.",
        ),
        _alarm(
            "CODEC_NOT_RECORDABLE",
            "A call used an audio coding that cannot be recorded.",
            "The ledger has its row.",
            "Limit the trunk to G.711 or G.722.",
        ),
        _alarm(
            "TRUNK_LOST",
            "A network interface of the trunk is gone.",
            "What was recorded is kept. No VoIP call is seen until it is back.",
            "Push the network plugs home; listening resumes by itself. If it does not, change the adapter.",
        ),
        _alarm(
            "PACKETS_DROPPED",
            "The recorder could not take every packet.",
            "What was lost is a gap in the recording.",
            "If it repeats, use fewer lines on this recorder.",
        ),
        _alarm(
            "ROLLBACK",
            "The card holds an older state than the memory knows.",
            "Nothing was changed.",
            "Somebody put an old copy of the card in. Tell the custodian.",
        ),
        _alarm(
            "MIRROR_HEALED",
            "A damaged copy was restored from its twin.",
            "Nothing is lost.",
            "If it repeats, change the card.",
        ),
        _alarm(
            "FRAME_DAMAGED",
            "A stored frame no longer matches its check sum.",
            "All other frames are sound.",
            "If it repeats, change the card.",
        ),
        _alarm(
            "AUDIT_DAMAGED",
            "The audit log does not continue its chain.",
            "Calls are not affected.",
            "Tell the custodian.",
        ),
        _alarm(
            "SELFTEST_FAILED",
            "The nightly self-test found a fault.",
            "Recording goes on where it can.",
            "Run `python -m firmware selftest` and follow its table.",
        ),
        _alarm(
            "CARD_SUSPECTED",
            "Digits were keyed outside a payment: the line was muted by itself.",
            "The digits were not kept.",
            "Press PAYMENT for 1.5 s once the payment is over.",
        ),
        _alarm(
            "STICK_REFUSED",
            "An order on the stick was refused.",
            "Nothing was changed.",
            "Read REPLY.txt on the stick.",
        ),
    )
}
