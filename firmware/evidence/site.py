"""What evidence needs to know of the site's settings. The settings themselves are read by ``firmware.config``: it
is passed in as a callable, so that one reader alone knows every key and its bounds."""

from collections.abc import Callable
from dataclasses import dataclass

SITE_BYTES_MAX = 64 * 1024
NOTICE_BYTES_MAX = 4 * 1024 * 1024
"""evidence.md: notice audio of at most 4 MiB."""

DEFAULT_TIMEZONE = "Europe/London"
SITE_DOCUMENT = "site"
NOTICE_DOCUMENT = "notice"
NOTICE_VERSION_DOCUMENT = "notice_version"
"""Set by a NOTICE order; until then the version is the one of the site's settings."""


@dataclass(frozen=True)
class SiteFacts:
    """``line_names`` in the order of the line numbers; ``retention_days`` other than 0 replaces the months, which are
    then 0 (policy/retention.Period)."""

    line_names: tuple[str, ...]
    retention_months: int
    supervisor_may_export: bool
    notice_version: str
    retention_days: int = 0
    timezone: str = DEFAULT_TIMEZONE


ReadSite = Callable[[str], SiteFacts]
"""The text of SITE.toml -> its facts. Raises ValueError with one sentence when a key is unknown or out of bounds."""
