"""The numbers everything else agrees on, each with its unit in its name, and the relations between them.

Clocks. Three of them, and a name always says which:

* ``_mono_us``  microseconds of the machine's monotonic clock since boot (CLOCK_BOOTTIME): durations, capture time,
  keys.
* ``_utc_ms``   trusted UTC in milliseconds since 1970 (docs in ``store/FORMAT.md``): ages, ledger rows, calendar
  limits.
* ``_sample``   a position on one line's own sample axis, counted at ``SAMPLE_RATE_HZ`` by its codec, lost samples
  included.
"""

SAMPLE_RATE_HZ = 8000
"""Rate at which a telephone line is kept: G.711's rate; 300 to 3400 Hz fits below 4 kHz."""

SAMPLE_US = 125
BLOCK_MS = 100
"""Length of a captured block. 100 ms frames were exact in 12 of 12 captures under load, 20 ms in 2 of 7 (measured)."""

BLOCK_SAMPLES = SAMPLE_RATE_HZ * BLOCK_MS // 1000
STEP_MS = 50
"""The recorder's step: a lamp answers a key within it. What a key means counts from its edge, whenever that is read."""

PORTION_BLOCKS = 4
"""Blocks that leave the look-back, are judged and handed to the vault as one."""

FRAME_SAMPLES_MAX = 2 * SAMPLE_RATE_HZ
"""A sealed frame holds at most 2 s (FORMAT.md)."""

FRAME_SEAL_SAMPLES = 18 * BLOCK_SAMPLES
"""The vault seals a call's pending audio before the next portion would make it longer than 1.8 s: with the write itself
a power cut then costs at most look-back + 2 s."""

LOOK_BACK_S_DEFAULT = 10
LOOK_BACK_S_MIN = 2
LOOK_BACK_S_MAX = 20

RETENTION_MONTHS_MAX = 2
"""The notice promises two calendar months; a longer period is refused at start."""

PROVISIONAL_HOLD_DAYS = 14

US_PER_S = 1_000_000
MS_PER_S = 1000
MS_PER_DAY = 86_400_000

assert SAMPLE_RATE_HZ * SAMPLE_US == US_PER_S
assert BLOCK_SAMPLES * SAMPLE_US == BLOCK_MS * 1000
assert PORTION_BLOCKS * BLOCK_SAMPLES < FRAME_SEAL_SAMPLES < FRAME_SAMPLES_MAX
