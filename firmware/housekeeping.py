"""What the recorder tells of itself while it runs: metrics each minute, a self-test each night. Jobs for the writer's
thread."""

from collections.abc import Callable, Iterator
from pathlib import Path

from firmware import metrics, selftest
from firmware.appliance import Appliance
from firmware.ports import Clock
from firmware.store.commands import Alarm, Report
from firmware.store.vault import Vault
from firmware.units import MS_PER_DAY, US_PER_S

METRICS_EVERY_US = 60 * US_PER_S
NIGHT_UTC_MS = 3 * 3_600_000
"""03:00 UTC: contact centres are closed."""

Examine = Callable[[Vault], list[selftest.Finding]]


class Housekeeper:
    """Call ``look`` once a step; it submits a job when one is due. ``path`` None: no metrics are written."""

    def __init__(self, clock: Clock, path: Path | None, examine: Examine) -> None:
        self._clock = clock
        self._path = path
        self._examine = examine
        self._told_mono_us: int | None = None
        self._last_night: int | None = None

    def look(self, appliance: Appliance) -> None:
        now = self._clock.mono_us()
        if self._path is not None and (self._told_mono_us is None or now - self._told_mono_us >= METRICS_EVERY_US):
            self._told_mono_us = now
            appliance.writer.submit_job("metrics", lambda vault: self._tell(vault, appliance))
        night = (appliance.writer.utc_ms() - NIGHT_UTC_MS) // MS_PER_DAY
        if self._last_night is not None and night > self._last_night:
            appliance.writer.submit_job("selftest", self._test)
        self._last_night = night

    def _tell(self, vault: Vault, appliance: Appliance) -> Iterator[Report | None]:
        assert self._path is not None
        loop = appliance.loop
        text = metrics.render(vault.health(), loop.panel.active(), loop.outcomes, vault.now_utc_ms())
        try:
            metrics.write(self._path, text)
        except OSError:
            vault.log("METRICS_FAILED", {})
        yield None

    def _test(self, vault: Vault) -> Iterator[Report | None]:
        findings = self._examine(vault)
        failed = [finding.check for finding in findings if finding.result is selftest.Result.FAILED]
        vault.log("SELFTEST", {"checks": len(findings), "failed": len(failed)})
        yield Alarm("SELFTEST_FAILED", bool(failed))
