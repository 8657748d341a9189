"""What the desk needs of the site's settings; ``firmware.config`` alone knows every key and its bounds."""

from pathlib import Path

from firmware.config import default_site_text, parse_site
from firmware.evidence.site import SITE_BYTES_MAX, SiteFacts
from tools.desk.errors import Refused
from tools.desk.files import read_file

DEFAULT_NOTICE = Path(__file__).resolve().parents[2] / "firmware" / "notice" / "notice.wav"


def site_facts(text: str) -> SiteFacts:
    """Raises Refused with the setting that is wrong."""
    try:
        site = parse_site(text)
    except ValueError as error:
        raise Refused(f"The site settings are refused: {error}") from None
    days: int = site.of("retention", "days")
    return SiteFacts(
        line_names=tuple(line.name for line in site.lines),
        retention_months=0 if days else site.of("retention", "months"),
        retention_days=days,
        timezone=site.of("site", "timezone"),
        supervisor_may_export=site.of("desk", "supervisor_may_export"),
        notice_version=site.of("notice", "version"),
    )


def site_file(path: Path | None) -> bytes:
    """The settings as they will be signed; the defaults without a file. Raises NotFound, Refused."""
    if path is None:
        return default_site_text().encode("utf-8")
    data = read_file(path, SITE_BYTES_MAX)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"{path} is not UTF-8 text.") from None
    return data
