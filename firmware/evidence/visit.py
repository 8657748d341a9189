"""A stick is plugged in: read the order once, judge it, log, obey, answer, read back, reply.

The durable steps of an order that is obeyed, in this order (tests cut between every two):

1. its id is remembered: from here on it is *used*, whatever happens; an export that fails costs a new order;
2. the audit line ``ORDER``: what will be done, for whom, on which basis;
3. the op; for an export one line ``DISCLOSE`` per call before the first byte of that call leaves;
4. the answer bag, its tag manifest last; synced; every byte read back and compared;
5. the audit line ``ANSWERED`` with the tag manifest's SHA-256; REPLY.txt.

A visit is a generator on the writer's thread: it yields between frames, so audio never waits for a stick. Whatever the
stick does (pulled, full, lying, endless), only the export fails; what the vault raises is not caught here.
"""

import hashlib
import hmac
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial

from firmware.evidence import answers
from firmware.evidence import order as orders
from firmware.evidence.bag import AnswerBag, StickLies
from firmware.evidence.courier import Courier
from firmware.evidence.fields import FieldError, utc_text
from firmware.evidence.judge import Circumstances, Refusal, judge, signers
from firmware.evidence.local import local_text
from firmware.evidence.note import NOTE_BYTES_MAX, BadSignature, Note, NoteError, parse
from firmware.evidence.notice import check_notice
from firmware.evidence.ops import CALLS_MAX, NOTHING_ATTACHED, Attachment, Result, carry_out, check_keys, select
from firmware.evidence.order import NOTICE_FILE, ORDER_FILE, SITE_FILE, Op, Order
from firmware.evidence.pack import enrol_path, enrol_text
from firmware.evidence.replies import Stamp, counted, done, failed, refused
from firmware.evidence.site import (
    DEFAULT_TIMEZONE,
    NOTICE_BYTES_MAX,
    SITE_BYTES_MAX,
    SITE_DOCUMENT,
    ReadSite,
    SiteFacts,
)
from firmware.ports import Stick
from firmware.store.commands import DocumentChanged, Report, StickReport
from firmware.store.errors import OrdersFull, VaultError
from firmware.store.keys import RequestKey
from firmware.store.vault import CallEntry, Vault

ATTACHED_FILES = {Op.NOTICE: (NOTICE_FILE, NOTICE_BYTES_MAX), Op.SETTINGS: (SITE_FILE, SITE_BYTES_MAX)}
REPLIES_MAX = 20

Step = Report | None


@dataclass(frozen=True)
class _Read:
    """An order as it was read: once, into memory. What is on the stick later does not matter."""

    order: Order
    data: bytes
    signed: tuple[RequestKey, ...]
    attached: Attachment = NOTHING_ATTACHED


class _Stop(Exception):
    """The order is refused. ``order`` is set once its signatures were found good."""

    def __init__(self, code: Refusal, detail: str | None = None, order: Order | None = None) -> None:
        super().__init__(code.value)
        self.code = code
        self.detail = detail
        self.order = order


def visit(vault: Vault, stick: Stick, read_site: ReadSite, courier: Courier) -> Iterator[Step]:
    """The whole visit. Its last report says done, refused (with the code) or failed (the stick's fault)."""
    return Visit(vault, stick, read_site, courier).run()


class Visit:
    def __init__(self, vault: Vault, stick: Stick, read_site: ReadSite, courier: Courier) -> None:
        self._vault = vault
        self._stick = stick
        self._read_site = read_site
        self._courier = courier
        self._device_id = vault.device_id
        self._timezone = DEFAULT_TIMEZONE

    def run(self) -> Iterator[Step]:
        yield StickReport("working")
        try:
            last = yield from self._visited()
        except VaultError as error:  # the card, not the stick: the lamp is told, the writer deals with it
            yield StickReport("failed", error.code)
            raise
        yield last

    def _visited(self) -> Generator[Step, None, StickReport]:
        try:
            yield from self._obey()
        except _Stop as stop:
            self._vault.log("REFUSED", {"code": stop.code.value, **_order_field(stop.order)})
            told = yield from self._tell(refused(stop.code, stop.detail, self._stamp(stop.order)))
            return StickReport("refused", stop.code.value) if told else StickReport("failed")
        except OSError as error:
            self._vault.log("STICK_FAILED", {})
            yield from self._tell(failed(isinstance(error, StickLies), self._stamp(None)))
            return StickReport("failed")
        return StickReport("done")

    def _tell(self, text: bytes) -> Generator[None, None, bool]:
        """Whether the letter could be written."""
        try:
            yield from self._reply([], text)
        except OSError:
            self._vault.log("STICK_FAILED", {})
            return False
        return True

    # ------------------------------------------------------------------------------------------ reading and judging

    def _obey(self) -> Generator[Step, None, None]:
        site_toml = self._vault.document(SITE_DOCUMENT) or b""
        site = self._read_site(site_toml.decode("utf-8"))
        self._timezone = site.timezone
        read = yield from self._read_order()
        order = read.order
        refusal = judge(order, read.signed, self._circumstances(order, site))
        if refusal is not None:
            raise _Stop(refusal, order=order)
        read = yield from self._with_attachment(read)
        chosen = select(self._vault, order, site.line_names)
        if len(chosen) > CALLS_MAX:
            raise _Stop(Refusal.TOO_MANY, f"It covers {len(chosen)} calls, and one answer may have {CALLS_MAX}.", order)
        directory = f"TACET/{self._device_id}/{order.order_id.hex()}"
        if (yield from self._courier.call(partial(self._stick.exists, f"{directory}/data"))):
            raise _Stop(Refusal.ALREADY_USED, "An answer to it is on this stick already.", order)
        self._remember(read)
        result = yield from carry_out(self._vault, order, chosen, read.attached)
        yield from (DocumentChanged(name) for name in result.changed)
        if result.refusal is not None:
            raise _Stop(result.refusal, " ".join(result.sentences) or None, order)
        yield from self._answer(read, result, directory)

    def _read_order(self) -> Generator[None, None, _Read]:
        try:
            data = yield from self._courier.call(partial(self._stick.read, ORDER_FILE, NOTE_BYTES_MAX))
        except OSError:
            raise _Stop(Refusal.UNREADABLE) from None
        if data is None:
            raise _Stop(Refusal.NO_ORDER)
        try:
            note = parse(data)
            signed = signers(note, self._vault.charter.request_keys, self._vault.ciphers.verify)
        except BadSignature:
            raise _Stop(Refusal.BAD_SIGNATURE) from None
        except NoteError as error:
            raise _Stop(Refusal.MALFORMED, f"{str(error).capitalize()}.") from None
        if not signed:
            raise _Stop(Refusal.UNSIGNED)
        return _Read(_parsed(note), data, signed)

    def _circumstances(self, order: Order, site: SiteFacts) -> Circumstances:
        return Circumstances(
            device_id=self._device_id,
            simulation=self._vault.charter.simulation,
            now_utc_ms=self._vault.now_utc_ms(),
            clock_suspect=self._vault.health()["clock"] != "ok",
            seen=self._vault.order_seen(order.order_id),
            supervisor_may_export=site.supervisor_may_export,
            line_names=site.line_names,
            may_export=self._vault.may_record,
        )

    def _with_attachment(self, read: _Read) -> Generator[None, None, _Read]:
        """The file that a NOTICE or SETTINGS order signs, checked before the order counts as used."""
        order = read.order
        if order.op is Op.KEYS and (wrong := check_keys(order)) is not None:
            raise _Stop(Refusal.KEYS_REFUSED, wrong, order)
        if order.op not in ATTACHED_FILES:
            return read
        path, limit = ATTACHED_FILES[order.op]
        try:
            data = yield from self._courier.call(partial(self._stick.read, path, limit))
        except OSError:
            data = None
        if data is None or not hmac.compare_digest(hashlib.sha256(data).digest(), order.sha256 or b""):
            raise _Stop(Refusal.ATTACHMENT, order=order)
        return replace(read, attached=Attachment(data, self._checked(order, data)))

    def _checked(self, order: Order, data: bytes) -> SiteFacts | None:
        """The facts of new settings; a notice has none. Raises _Stop."""
        try:
            if order.op is Op.NOTICE:
                check_notice(data)
                return None
            site = self._read_site(data.decode("utf-8"))
        except ValueError as error:
            raise _Stop(Refusal.SETTINGS_REFUSED, str(error), order) from None
        lines = self._vault.charter.lines
        if len(site.line_names) != lines:
            raise _Stop(Refusal.SETTINGS_REFUSED, f"This recorder was provisioned for {lines} lines.", order)
        return site

    def _remember(self, read: _Read) -> None:
        """Steps 1 and 2."""
        order = read.order
        try:
            self._vault.remember_order(order.order_id, order.not_after_utc_ms)
        except OrdersFull:
            raise _Stop(Refusal.ORDERS_FULL, order=order) from None
        fields: dict[str, int | str | bytes] = {
            "order": order.order_id,
            "op": order.op.value.lower(),
            "note": hashlib.sha256(read.data).digest(),
            "signers": b"".join(key.key_id for key in read.signed),
        }
        for name, word in (("purpose", order.purpose), ("basis", order.basis), ("recipient", order.recipient)):
            if word is not None:
                fields[name] = _word(word.value)
        self._vault.log("ORDER", fields)

    # ------------------------------------------------------------------------------------------------- answering

    def _answer(self, read: _Read, result: Result, directory: str) -> Generator[Step, None, None]:
        order = read.order
        bag = AnswerBag(self._stick, self._courier, directory)
        yield from bag.add("order.txt", iter([read.data]))
        given = yield from self._add_calls(bag, order, result)
        indexed = yield from answers.add_index(self._vault, bag)
        yield from answers.add_report(self._vault, bag, self._vault.document(SITE_DOCUMENT) or b"")
        yield from self._enrol()
        tag_sha256 = yield from bag.finish(self._bag_info(order))
        self._vault.log("ANSWERED", {"order": order.order_id, "calls": len(given), "bag": tag_sha256})
        for entry in given:
            self._vault.mark_exported(entry.call_id)
        if order.op is Op.EXPORT:
            result.sentences.append(f"{counted(len(given))} given out, sealed to the enrolled recipients.")
        result.sentences.append(
            f"The report, and the index of what is on the recorder (calls: {indexed}), are beside this reply."
        )
        try:
            yield from self._reply([f"{directory}/REPLY.txt"], done(result.sentences, self._stamp(order)))
        except OSError:  # the answer is whole and was read back: only the letter about it is missing
            self._vault.log("STICK_FAILED", {"order": order.order_id})

    def _add_calls(self, bag: AnswerBag, order: Order, result: Result) -> Generator[None, None, list[CallEntry]]:
        given: list[CallEntry] = []
        for number, entry in enumerate(result.export, 1):
            self._vault.log("DISCLOSE", {"order": order.order_id, "call": entry.call_id})
            if (yield from answers.add_call(self._vault, bag, number, entry.call_id)):
                given.append(entry)
            else:
                result.sentences.append("A call was erased or opted out meanwhile and was not given out.")
        return given

    def _bag_info(self, order: Order) -> list[tuple[str, str]]:
        return [
            ("Bag-Software-Agent", "Tacet"),
            ("Bagging-Date", utc_text(self._vault.now_utc_ms())[:10]),
            ("External-Identifier", order.order_id.hex()),
            ("Source-Organization", self._device_id),
        ]

    def _enrol(self) -> Generator[None, None, None]:
        """Every stick that was obeyed also carries the recorder's identity, so that any desk can pin it."""
        path = enrol_path(self._device_id)
        if not (yield from self._courier.call(partial(self._stick.exists, path))):
            yield from self._courier.send(
                lambda chunks: self._stick.write(path, chunks), iter([enrolment(self._vault)])
            )

    def _reply(self, first_choice: list[str], text: bytes) -> Generator[None, None, None]:
        """Beside the answer, or, where there is none, in TACET. Nothing is ever replaced on a stick."""
        more = (f"TACET/REPLY-{number}.txt" for number in range(2, REPLIES_MAX + 1))
        for place in (*first_choice, "TACET/REPLY.txt", *more):
            if not (yield from self._courier.call(partial(self._stick.exists, place))):
                yield from self._courier.send(partial(self._stick.write, place), iter([text]))
                yield from self._courier.call(self._stick.sync)
                return

    def _stamp(self, order: Order | None) -> Stamp:
        when = local_text(self._vault.now_utc_ms(), self._timezone)
        proven = self._vault.health()["erasure_proven"] == 1
        return Stamp(self._device_id, when, order.order_id.hex() if order is not None else None, proven)


def enrolment(vault: Vault) -> bytes:
    """ENROL.txt: the fingerprint that the desk pins and that stands on the label."""
    return enrol_text(
        {
            "device": vault.device_id,
            "genesis_public": vault.genesis_public_key,
            "fingerprint": vault.fingerprint,
            "simulation": vault.charter.simulation,
        }
    )


def _parsed(note: Note) -> Order:
    try:
        return orders.parse(note.lines)
    except FieldError as error:
        raise _Stop(Refusal.MALFORMED, f"{str(error).capitalize()}.") from None


def _order_field(order: Order | None) -> dict[str, int | str | bytes]:
    return {} if order is None else {"order": order.order_id}


def _word(text: str) -> str:
    """Words of the audit log have no hyphens."""
    return text.replace("-", "_")


Job = Callable[[Vault], Iterator[Step]]


def job(stick: Stick, read_site: ReadSite, courier: Courier) -> Job:
    """For ``Writer.submit_job``."""
    return lambda vault: visit(vault, stick, read_site, courier)
