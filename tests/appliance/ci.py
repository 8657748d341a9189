"""What ``.ci/run`` does about the emulated machine: ``python -m tests.appliance.ci``.

Nothing where the last green run has seen the same boot/, hw/ and store; nothing, with the reason, on a machine that
cannot emulate; otherwise the whole run. An emulated machine on a busy host is the one test here that depends on more
than the sources, so a failed run is tried a second time, and both are told; failing twice is a failure. All of it ends
after ``LIMIT_S``: a run that was not finished has judged nothing, and says so.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from tests.appliance import green

LIMIT_S = 60 * 60
"""Of the 90 minutes that everything together may take; the other tests need a quarter of an hour."""
ATTEMPTS = 2
PACKAGES = ["tools/setup.sh", "tools/setup_packages_proof.txt", "tools/setup_packages_image.txt"]
RUN = ["make", "test-appliance"]

Command = Callable[[list[str], float], int | None]


def main() -> int:
    if green.proven():
        print("appliance: boot/, hw/ and the store are as in the last green run; not run again.")
        return 0
    if os.geteuid() != 0:
        print("appliance: skipped, building a root file system needs root.")
        return 0
    return judge(run_within, time.monotonic)


def judge(run: Command, now_s: Callable[[], float]) -> int:
    """``run(command, seconds)``: its exit code, or None when the time was up."""
    end_s = now_s() + LIMIT_S
    if run(PACKAGES, end_s - now_s()) != 0:
        print("appliance: skipped, the emulator's packages cannot be installed here.")
        return 0
    for attempt in range(1, ATTEMPTS + 1):
        code = run(RUN, end_s - now_s())
        if code is None:
            print(f"appliance: NOT JUDGED, attempt {attempt} did not end within {LIMIT_S // 60} minutes in all.")
            return 0
        if code == 0:
            return 0
        print(f"appliance: attempt {attempt} of {ATTEMPTS} failed.")
    return 1


def run_within(command: list[str], seconds: float) -> int | None:
    """In a session of its own, so that a run that is ended takes its emulator with it."""
    with subprocess.Popen(command, cwd=green.REPOSITORY, start_new_session=True) as process:
        try:
            return process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None


if __name__ == "__main__":
    sys.exit(main())
