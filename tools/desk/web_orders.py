"""From a form of the page to an order on the stick, by the same functions as the command line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from firmware.evidence.order import Basis, Ground, Op, Purpose, RecipientKind
from tools.desk import orders
from tools.desk.errors import NotFound, Refused
from tools.desk.keys import Unlocked, unlock
from tools.desk.local_times import typed_moment
from tools.desk.times import parse_time
from tools.desk.web_session import Service

Form = Mapping[str, str]


def write_order(service: Service, form: Form, zone: ZoneInfo) -> str:
    """One sentence of what is on the stick now. Raises DeskError."""
    stick = stick_of(service)
    home = service.home
    draft = _draft(form, zone)
    device = home.find_device(form.get("device") or None)
    order = orders.build(device, draft, orders.Validity.of(service.clock(), None, None))
    signers = [service.person, *_second_person(service, form)]
    path, missing = orders.write(home, stick, order, signers, draft, service.clock())
    told = f"The order {order.op.value} for {device.device_id} is on the stick, as {path.relative_to(stick)}."
    if missing:
        return told + " It still needs a second person's signature (`order cosign` in their home, with this stick)."
    return told + " Plug the stick into the recorder until its lamp says done, then read the reply here."


def stick_of(service: Service) -> Path:
    if service.stick is None:
        raise NotFound("This desk was started without a stick. Start it again with --stick and the stick's directory.")
    return service.stick


def _second_person(service: Service, form: Form) -> list[Unlocked]:
    role, passphrase = form.get("cosign_role", ""), form.get("cosign_passphrase", "")
    if not passphrase:
        return []
    known = [name for name in ("escrow", "supervisor", "custodian") if service.home.key_file(name).exists()]
    if role not in known or role == service.home.role:
        raise Refused("The second person's key is not in this home; let them sign in theirs. Nothing was written.")
    return [unlock(service.home.key_file(role), passphrase)]


def _draft(form: Form, zone: ZoneInfo) -> orders.Draft:
    drafts: dict[str, Callable[[Form, ZoneInfo], orders.Draft]] = {
        "export": _export,
        "hold": _hold(Op.HOLD),
        "confirm": _hold(Op.CONFIRM),
        "extend": _hold(Op.EXTEND),
        "release": _release,
        "erase": _erase,
        "index": lambda form, zone: orders.Draft(Op.INDEX),
        "report": lambda form, zone: orders.Draft(Op.REPORT),
    }
    make = drafts.get(form.get("op", ""))
    if make is None:
        raise Refused("The page asked for an order that the desk does not know; nothing was written.")
    try:
        return make(form, zone)
    except ValueError as error:
        raise Refused(f"The order was not written: {error}.") from None


def _calls(form: Form) -> tuple[bytes, ...]:
    """Raises ValueError."""
    names = form.get("call", "").split()
    if not names:
        raise ValueError("no call is named")
    try:
        found = tuple(bytes.fromhex(name) for name in names)
    except ValueError:
        found = ()
    if not found or any(len(call) != 16 for call in found):
        raise ValueError("a call is named by the 32 hex digits of its id")
    return found


def _case(form: Form) -> str | None:
    return form.get("case", "").strip() or None


def _hold(op: Op) -> Callable[[Form, ZoneInfo], orders.Draft]:
    def draft(form: Form, zone: ZoneInfo) -> orders.Draft:
        review = parse_time(form["review"]) if form.get("review") else None  # a day, as on the command line
        fields: dict[str, object] = {
            "calls": _calls(form),
            "case": _case(form),
            "reason": form.get("reason", "").strip() or None,
            "review_utc_ms": review,
        }
        return orders.Draft(op, fields)

    return draft


def _release(form: Form, zone: ZoneInfo) -> orders.Draft:
    reason = form.get("reason", "").strip() or None
    return orders.Draft(Op.RELEASE, {"calls": _calls(form), "case": _case(form), "reason": reason})


def _erase(form: Form, zone: ZoneInfo) -> orders.Draft:
    if form.get("sure") != "yes":
        raise ValueError("tick that you mean it: an erased call cannot be brought back")
    fields: dict[str, object] = {"calls": _calls(form), "ground": Ground(form.get("ground", "")), "case": _case(form)}
    return orders.Draft(Op.ERASE, fields)


def _export(form: Form, zone: ZoneInfo) -> orders.Draft:
    fields: dict[str, object] = {
        "purpose": Purpose(form.get("purpose", "")),
        "basis": Basis(form.get("basis", "")),
        "recipient": RecipientKind(form.get("recipient", "internal")),
        "case": _case(form),
    }
    if form.get("call"):
        return orders.Draft(Op.EXPORT, {**fields, "calls": _calls(form)})
    fields["from_utc_ms"] = typed_moment(form.get("from_day", ""), form.get("from_time", ""), zone, end=False)
    fields["to_utc_ms"] = typed_moment(form.get("to_day", ""), form.get("to_time", ""), zone, end=True)
    fields["lines"] = tuple(filter(None, [form.get("line", "")]))
    return orders.Draft(Op.EXPORT, fields)
