"""One direction of one call: RTP packets in any order to positions on the call's axis.

The axis is RTP time, anchored at the arrival of a stream's first packet; arrival is looked at again where RTP time
makes no sense (a new SSRC, a jump, a drift of more than a second). So jitter moves nothing, loss leaves its hole,
and a sender that begins anew lands where it was heard.
"""

from firmware.units import SAMPLE_US
from firmware.voip.keys import KeyWatch
from firmware.voip.output import Channel
from firmware.voip.parts import Parts, Run
from firmware.voip.rtp import (
    HEADER,
    RTCP_TYPES,
    STATIC_TYPES,
    Coding,
    PayloadTypes,
    payload_span,
    redundant_blocks,
    turns_encrypted,
)

SNAP_SAMPLES = 480
"""60 ms: a new stream that begins this close to the old one's end continues it without a hole (jitter of two
packets and a half at 20 ms)."""

AHEAD_SAMPLES_MAX = 800
"""100 ms: audio may not lie on the axis by more than this later than it arrived, for the axis is what a payment key's
release is compared with: what was said before it must not lie behind it. A sender whose clock is 50 ppm fast loses
100 ms in 33 min."""

RESYNC_SAMPLES = 8000
"""1 s from RTP time to a later arrival: RTP time is not believed any more. A sender 50 ppm slow reaches this after
5.5 h. To lie earlier than it arrived is safe: a press removes a look-back of 2 s at least. What would land before the
last cut is anchored anew as well, so that a sender whose RTP time stood still in a pause is heard with its first
packet."""

LATE_RUN_MAX = 50
"""1 s of 20 ms packets: a sender that counts from lower again, where it has counted before, is believed after so
many."""

MARK_EVERY = 16
MARKS_MAX = 512
"""Every 16th packet of a stream is remembered by its sequence number, time and payload, so that a copy is told from a
sender that begins anew with the same numbers: the last 8192 packets, 164 s at 20 ms."""

QUIET_SAMPLES_MAX = 60 * 8000
"""Comfort noise or a keyed digit without anything after it is silence on purpose for a minute, then a loss."""

PACKET_SAMPLES_MAX = 2400
"""300 ms: telephones send 10 to 60 ms a packet, some gateways 120. What is longer is no telephone's."""

SILENCE_SAMPLES_MAX = 8000 * 3600

HALF_TIME = 0x80000000
HALF_SEQUENCE = 0x8000


class Track:
    """``take`` is the hot path: one call per packet, no output but what ``runs`` and ``keys`` later give."""

    def __init__(
        self,
        channel: Channel,
        answered_mono_us: int,
        *,
        packets_max: int,
        types: PayloadTypes = STATIC_TYPES,
        opt_out_event: int | None = None,
    ) -> None:
        self.channel = channel
        self.types = types
        self.last_mono_us = answered_mono_us
        self.late_packets = 0
        self.unrecordable: str | None = None
        self.encrypted_mono_us: int | None = None
        """When its packets turned encrypted."""
        self.keys = KeyWatch(channel, opt_out_event)
        self._codings = types.codings
        self._answered_mono_us = answered_mono_us
        self._parts = Parts(packets_max)
        self._ssrc = -1
        self._sequence = 0
        self._stamp = 0
        self._position = 0
        self._started = False
        self._floor = 0
        self._resumed = 0
        self._start = 0
        self._paused = False
        self._late_next = -1
        self._late_run = 0
        self._late_head = -1
        self._left = (-1, 0)
        """SSRC of the stream before this one, and its next sequence number."""
        self._early: dict[int, tuple[int, Coding, bytes]] = {}
        """Packets that overtook others, by their sequence number, until their turn comes."""
        self._marks: dict[int, int] = {}
        """Sequence number to hash of stamp and payload, oldest first."""
        self._quiet: Coding | None = None
        self._coding: Coding | None = None

    def change_types(self, types: PayloadTypes) -> None:
        """A new offer and answer: other numbers, the same axis."""
        self.types = types
        self._codings = {} if self._paused else types.codings

    def pause(self) -> None:
        """What arrives from now on is not taken: on hold, arrival counts and not where RTP time would put it."""
        self._paused = True
        self._codings = {}

    def resume(self, sample: int) -> None:
        """The next packet begins anew at its arrival; nothing may be moved to before ``sample``."""
        self._paused = False
        self._resumed = sample
        self._codings = self.types.codings
        self._ssrc = -1
        self._left = (-1, 0)
        self._started = False
        self._quiet = None

    # ------------------------------------------------------------------------------------------------ packets in

    def take(self, data: bytes, offset: int, end: int, at_mono_us: int) -> None:
        """A UDP payload ``data[offset:end]`` of this flow. Anything that is not RTP version 2 is not audio."""
        if end - offset < HEADER.size:
            return
        first, kind, sequence, stamp, ssrc = HEADER.unpack_from(data, offset)
        if first == 0x80:
            payload = data[offset + 12 : end]
        else:
            if first >> 6 != 2:
                if self.encrypted_mono_us is None and turns_encrypted(data, offset, end):
                    self.encrypted_mono_us = at_mono_us
                return
            span = payload_span(data, offset, end)
            if span is None:
                return
            payload = data[span[0] : span[1]]
        coding = self._codings.get(kind & 0x7F)
        if coding is None:
            self._take_other(kind & 0x7F, sequence, stamp, ssrc, payload, at_mono_us)
            return
        if ssrc != self._ssrc:
            if self._trails(ssrc, sequence):
                return
            self._begin(ssrc, sequence, stamp, at_mono_us)
        self.last_mono_us = at_mono_us
        samples = len(payload) // coding.unit_bytes
        if samples > PACKET_SAMPLES_MAX:
            self.late_packets += 1
            return
        payload = payload[: samples * coding.unit_bytes]
        position = self._position
        if (
            stamp != self._stamp
            or sequence != self._sequence
            or position < self._parts.cut
            or not sequence % MARK_EVERY
        ):
            found = self._place(sequence, stamp, samples, coding, payload, at_mono_us)
            if found is None:
                return
            position = found
            if (sequence - self._sequence) & 0xFFFF >= HALF_SEQUENCE:
                self._append(position, samples, coding, payload)
                return
        if self._parts.has_room():
            self._parts.extend(position, samples, coding, [payload])
        else:
            self.late_packets += 1
        self._sequence = (sequence + 1) & 0xFFFF
        self._stamp = (stamp + samples * coding.clock) & 0xFFFFFFFF
        self._position = position + samples
        self._quiet = None
        self._coding = coding

    def take_train(self, data: bytes, starts: list[int], ends: list[int], times_mono_us: list[int]) -> None:
        """The packets of a train (``datagrams``), as if they were taken one by one."""
        packets, start = len(starts), starts[0]
        _, kind, sequence, stamp, ssrc = HEADER.unpack_from(data, start)
        coding, each = self._codings.get(kind & 0x7F), ends[0] - start - HEADER.size
        mark = -sequence % MARK_EVERY
        if (
            coding is None
            or coding.unit_bytes != 1
            or (ssrc, sequence, stamp) != (self._ssrc, self._sequence, self._stamp)
            or self._position < self._parts.cut
            or each > PACKET_SAMPLES_MAX
            or not self._parts.has_room(packets)
            or (mark < packets and self._is_far(self._position + mark * each, times_mono_us[mark]))
        ):
            for start, end, at_mono_us in zip(starts, ends, times_mono_us, strict=True):
                self.take(data, start, end, at_mono_us)
            return
        payloads = [data[start + HEADER.size : end] for start, end in zip(starts, ends, strict=True)]
        if mark < packets:
            self._remember(sequence + mark & 0xFFFF, hash((stamp + mark * each & 0xFFFFFFFF, payloads[mark])))
        samples = packets * each
        self._parts.extend(self._position, samples, coding, payloads)
        self._sequence = sequence + packets & 0xFFFF
        self._stamp = stamp + samples & 0xFFFFFFFF
        self._position += samples
        self._quiet = None
        self._coding = coding
        self.last_mono_us = times_mono_us[-1]

    def _is_far(self, position: int, at_mono_us: int) -> bool:
        """RTP time and arrival are further apart than is believed."""
        return not -RESYNC_SAMPLES <= position - self._arrival(at_mono_us) <= AHEAD_SAMPLES_MAX

    def _append(self, position: int, samples: int, coding: Coding, payload: bytes | None) -> None:
        """Out of order: late, or silence put in afterwards."""
        if position + samples <= self._parts.cut:
            self.late_packets += payload is not None
        elif self._parts.has_room():
            self._parts.put(position, samples, coding, payload)

    def _arrival(self, at_mono_us: int) -> int:
        return (at_mono_us - self._answered_mono_us) // SAMPLE_US

    def _begin(self, ssrc: int, sequence: int, stamp: int, at_mono_us: int) -> None:
        if self._ssrc >= 0:
            self._left = (self._ssrc, self._sequence)
        self._ssrc = ssrc
        self._marks.clear()
        self._anchor(sequence, stamp, at_mono_us)

    def _anchor(self, sequence: int, stamp: int, at_mono_us: int) -> None:
        position = self._arrival(at_mono_us)
        if self._started and abs(position - self._position) <= SNAP_SAMPLES:
            position = self._position
        self._floor = max(self._resumed, min(position, self._position))
        self._position = self._start = max(position, self._parts.cut)
        self._sequence = sequence
        self._stamp = stamp
        self._parts.break_off()
        self._early.clear()
        self._started = True

    def _place(
        self, sequence: int, stamp: int, samples: int, coding: Coding, payload: bytes, at_mono_us: int
    ) -> int | None:
        """The position of a packet that does not simply follow; None for a copy of one that was taken, and for one
        that is too late."""
        steps = (sequence - self._sequence) & 0xFFFF
        ticks = (stamp - self._stamp) & 0xFFFFFFFF
        ticks -= 0x100000000 if ticks >= HALF_TIME else 0
        moved = ticks // coding.clock
        position = self._position + moved
        ahead = position - self._arrival(at_mono_us)
        if ahead > AHEAD_SAMPLES_MAX and steps < HALF_SEQUENCE:
            shift = self._pull_back(ahead)
            position, ahead = position - shift, ahead - shift
        far = ahead > AHEAD_SAMPLES_MAX or ahead < -RESYNC_SAMPLES
        mark = hash((stamp, payload))
        late = steps >= HALF_SEQUENCE and moved < 0
        if late and not far and self._parts.hold(position, position + samples, payload):
            return None
        if late and coding is self._coding and not self._begins_anew(sequence, position, mark, far):
            self.late_packets += far and self._late_run > 0
            return None if far else position
        # It overtook others, unless the next in sequence comes right behind it: then the sender has jumped.
        jumped = (sequence - 1) & 0xFFFF in self._early or len(self._early) >= LATE_RUN_MAX
        if ahead > AHEAD_SAMPLES_MAX and 0 < steps <= LATE_RUN_MAX and moved == steps * samples and not jumped:
            self._early[sequence] = (samples, coding, payload)
            return None
        if steps and not far:
            self._take_early()
        if not sequence % MARK_EVERY:
            self._remember(sequence, mark)
        if far or steps >= HALF_SEQUENCE or position < self._parts.cut:
            self._anchor(sequence, stamp, at_mono_us)
            return self._position
        if steps == 0 and 0 < moved <= SILENCE_SAMPLES_MAX:
            self._append(self._position, moved, self._coding or coding, None)
        return position

    def _take_early(self) -> None:
        """Those that overtook others and are next."""
        sequence, position = self._sequence, self._position
        while (early := self._early.pop(sequence, None)) is not None:
            self._append(position, *early)
            sequence, position = (sequence + 1) & 0xFFFF, position + early[0]

    def _remember(self, sequence: int, mark: int) -> None:
        self._marks.pop(sequence, None)
        self._marks[sequence] = mark
        if len(self._marks) > MARKS_MAX:
            del self._marks[next(iter(self._marks))]

    def _pull_back(self, ahead: int) -> int:
        """A stream whose first packet was held up lies too late on the axis; while nothing of it was cut, it is moved
        to where it belongs. Returns by how much."""
        shift = min(ahead, self._start - max(self._floor, self._parts.cut))
        if shift <= 0:
            return 0
        self._parts.move_back(self._start, shift)
        self._start -= shift
        self._position -= shift
        return shift

    def _begins_anew(self, sequence: int, position: int, mark: int, far: bool) -> bool:
        """A packet from before: late, or the copy of one that was taken (a second path, a mirror port with a delay),
        or a sender that counts from lower again. Only the last is several in sequence while nothing comes at the
        head; where its numbers were all used before in this stream, its payload must be another one."""
        follows = sequence == self._late_next and self._sequence == self._late_head
        self._late_run = self._late_run + 1 if follows else 1
        self._late_next = (sequence + 1) & 0xFFFF
        self._late_head = self._sequence
        known = self._marks.get(sequence)
        if far and known is not None:
            self._late_run = 0
            return known != mark
        return self._late_run > (1 if far and position < self._start else LATE_RUN_MAX)

    def _trails(self, ssrc: int, sequence: int) -> bool:
        """A late packet, or a copy, of the stream before this one: it does not bring that stream back, unless it is
        many in sequence."""
        left, following = self._left
        if ssrc != left or (sequence - following) & 0xFFFF < HALF_SEQUENCE:
            return False
        self._late_run = self._late_run + 1 if sequence == self._late_next else 1
        self._late_next = (sequence + 1) & 0xFFFF
        return self._late_run <= LATE_RUN_MAX

    # ---------------------------------------------------------------------------------- what is not a voice packet

    def _take_other(self, kind: int, sequence: int, stamp: int, ssrc: int, payload: bytes, at_mono_us: int) -> None:
        types = self.types
        if kind in RTCP_TYPES:
            return
        self.last_mono_us = at_mono_us
        if self._paused and kind not in types.events:
            return
        if kind in types.redundant:
            self._take_redundant(sequence, stamp, ssrc, payload, at_mono_us)
        elif kind in types.events:
            self._follow(sequence, stamp, ssrc, at_mono_us)
            self.keys.take(stamp, self._axis_mono_us(stamp, at_mono_us), payload, at_mono_us)
        elif kind in types.noise:
            self._follow(sequence, stamp, ssrc, at_mono_us)
        elif kind in types.unrecordable:
            self.unrecordable = types.unrecordable[kind]

    def _follow(self, sequence: int, stamp: int, ssrc: int, at_mono_us: int) -> None:
        """Comfort noise or an event: the sender lives and is silent until its next voice packet."""
        if ssrc != self._ssrc:
            self._begin(ssrc, sequence, stamp, at_mono_us)
        if (sequence - self._sequence) & 0xFFFF < HALF_SEQUENCE:
            self._sequence = (sequence + 1) & 0xFFFF
        self._quiet = None if self._paused else self._coding or self.types.preferred

    def _take_redundant(self, sequence: int, stamp: int, ssrc: int, payload: bytes, at_mono_us: int) -> None:
        blocks = redundant_blocks(payload)
        if not blocks:
            return
        if ssrc != self._ssrc:
            self._begin(ssrc, sequence, stamp, at_mono_us)
        kind, _, primary = blocks[-1]
        coding = self._codings.get(kind)
        if coding is None:
            self._take_other_block(kind, sequence, stamp, ssrc, primary, at_mono_us)
            return
        header = HEADER.pack(0x80, kind, sequence, stamp, ssrc)
        self.take(header + primary, 0, 12 + len(primary), at_mono_us)
        end_stamp = (stamp + len(primary) // coding.unit_bytes * coding.clock) & 0xFFFFFFFF
        if end_stamp != self._stamp:
            return
        start = self._position - len(primary) // coding.unit_bytes
        for number, back, block in blocks[:-1]:
            earlier = self._codings.get(number)
            if earlier is not None and block:
                self._append_redundant(start - back // earlier.clock, earlier, block)

    def _take_other_block(self, kind: int, sequence: int, stamp: int, ssrc: int, block: bytes, at_mono_us: int) -> None:
        if kind not in self.types.redundant:
            self._take_other(kind, sequence, stamp, ssrc, block, at_mono_us)

    def _append_redundant(self, position: int, coding: Coding, block: bytes) -> None:
        samples = len(block) // coding.unit_bytes
        if position + samples > self._parts.cut and self._parts.has_room():
            self._parts.put(position, samples, coding, block[: samples * coding.unit_bytes])

    def _axis_mono_us(self, stamp: int, at_mono_us: int) -> int:
        """Where an RTP time stamp of the present stream lies on the axis, as a time; its arrival where that is far."""
        ticks = (stamp - self._stamp) & 0xFFFFFFFF
        ticks -= 0x100000000 if ticks >= HALF_TIME else 0
        lies_us = self._answered_mono_us + (self._position + ticks) * SAMPLE_US
        return lies_us if abs(lies_us - at_mono_us) <= RESYNC_SAMPLES * SAMPLE_US else at_mono_us

    # ------------------------------------------------------------------------------------------------- audio out

    @property
    def quiet(self) -> bool:
        """Its sender has said that it is silent on purpose (comfort noise), and nothing since."""
        return self._quiet is not None

    def empty(self, start: int) -> bool:
        """Nothing to be had from ``start`` on, as far as is known."""
        return not self._parts and (self._quiet is None or start >= self._quiet_end)

    @property
    def _quiet_end(self) -> int:
        return self._arrival(self.last_mono_us) + QUIET_SAMPLES_MAX

    def runs(self, start: int, end: int) -> list[Run]:
        """Take [start, end) off the axis: what there is of it, in order, without overlap. ``start`` is where the
        last call ended."""
        runs = self._parts.runs(start, end)
        position, quiet_end = runs[-1].end if runs else start, min(end, self._quiet_end)
        if self._quiet is not None and position < quiet_end:
            runs.append(Run(position, quiet_end, self._quiet, self._quiet.silence * (quiet_end - position)))
        return runs

    def drop(self, end: int) -> None:
        """Take everything up to ``end`` off the axis unheard (hold)."""
        self._parts.drop(end)
