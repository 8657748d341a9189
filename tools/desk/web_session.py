"""What the web page keeps in memory: the unlocked home, browsers that were let in, and the calls being heard.

Nothing of it is ever written: keys, passphrases and opened audio end with the process, with Lock, or after a quarter
of an hour without a click.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tools.desk import retention
from tools.desk.audio import Sound
from tools.desk.desk import INDEX_FILE, Desk, load, save
from tools.desk.errors import Refused
from tools.desk.findings import Finding
from tools.desk.home import Home
from tools.desk.keys import Unlocked, unlock
from tools.desk.library import CallRow, Library
from tools.desk.locking import locked
from tools.desk.pictures import loudest_of
from tools.desk.spans import Span

TOKEN_BYTES = 32
BROWSERS_MAX = 8
PLAYS_MAX = 2
IDLE_MS_MAX = 15 * 60 * 1000
WRONG_PASSPHRASES_MAX = 10


class OpenHome:
    """One unlocked home. The library stays in memory between clicks and is read again when another program has
    changed it; retention runs before everything else, each time."""

    def __init__(self, home: Home, person: Unlocked) -> None:
        self.home = home
        self.person = person
        self._library: Library | None = None
        self._stamp: tuple[int, ...] = ()
        self._mutex = threading.Lock()

    @contextmanager
    def desk(self, now_utc_ms: int) -> Iterator[Desk]:
        with self._mutex, locked(self.home.path / "home.lock"):
            library = self._fresh()
            desk = Desk(self.home, self.person, library, now_utc_ms)
            desk.destroyed = retention.purge(self.home, library, now_utc_ms)
            try:
                yield desk
            finally:
                save(self.home, self.person, library)
                self._stamp = _stamp(self.home.path / INDEX_FILE)

    def close(self) -> None:
        with self._mutex:
            if self._library is not None:
                self._library.close()
            self._library = None

    def _fresh(self) -> Library:
        stamp = _stamp(self.home.path / INDEX_FILE)
        if self._library is None or stamp != self._stamp:
            if self._library is not None:
                self._library.close()
            self._library = load(self.home, self.person)
            self._stamp = stamp
        return self._library


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes whenever the file is replaced."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size)


@dataclass(frozen=True, repr=False)
class Play:
    """One call that was opened to be heard."""

    row: CallRow
    axis: Sound
    silent: tuple[Span, ...]
    findings: tuple[Finding, ...]
    loudest: float


@dataclass
class Notice:
    """One sentence for the top of the next page. ``kind``: done or failed."""

    kind: str
    text: str


@dataclass(repr=False)
class Browser:
    """One browser that came with the token. ``search``: the fields of its last search, so that no number stands in an
    address or in a history."""

    csrf: str
    unlocked: bool = False
    last_seen_utc_ms: int = 0
    search: dict[str, str] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    plays: "OrderedDict[str, Play]" = field(default_factory=OrderedDict)

    def tell(self, kind: str, text: str) -> None:
        self.notices.append(Notice(kind, text))

    def take_notices(self) -> list[Notice]:
        taken, self.notices = self.notices, []
        return taken

    def add_play(self, play: Play) -> str:
        name = token()
        self.plays[name] = play
        while len(self.plays) > PLAYS_MAX:
            self.plays.popitem(last=False)
        return name


def token() -> str:
    return os.urandom(TOKEN_BYTES).hex()


def play_of(row: CallRow, axis: Sound, silent: tuple[Span, ...], findings: tuple[Finding, ...]) -> Play:
    return Play(row, axis, silent, findings, loudest_of(axis))


class Service:
    """Everything behind the page. ``stick``: the directory of the stick, or None."""

    def __init__(self, home: Home, stick: Path | None, clock: Callable[[], int]) -> None:
        self.home = home
        self.stick = stick
        self.clock = clock
        self.entry_token = token()
        self._browsers: OrderedDict[str, Browser] = OrderedDict()
        self._open: OpenHome | None = None
        self._wrong = 0
        self._mutex = threading.Lock()

    # ------------------------------------------------------------------------------------------------ browsers

    def let_in(self) -> str:
        """A new browser; returns its cookie. The oldest goes when there are too many."""
        name = token()
        with self._mutex:
            self._browsers[name] = Browser(token(), last_seen_utc_ms=self.clock())
            while len(self._browsers) > BROWSERS_MAX:
                self._browsers.popitem(last=False)
        return name

    def browser(self, cookie: str) -> Browser | None:
        """Found by its cookie (256 random bits); locked again after a quarter of an hour without a click."""
        found = self._browsers.get(cookie)
        if found is None:
            return None
        now = self.clock()
        if found.unlocked and now - found.last_seen_utc_ms > IDLE_MS_MAX:
            self.lock(found)
            found.tell("failed", "The desk locked itself after 15 minutes without a click.")
        found.last_seen_utc_ms = now
        return found

    # ------------------------------------------------------------------------------------------------ the home

    def unlock(self, browser: Browser, passphrase: str) -> None:
        """Raises WrongPassphrase, Refused (too many wrong ones: start the desk again)."""
        with self._mutex:
            if self._wrong >= WRONG_PASSPHRASES_MAX:
                raise Refused("Too many wrong passphrases. Nothing was opened; start the desk again to go on.")
            self._wrong += 1
            person = unlock(self.home.key_file(), passphrase)
            self._wrong = 0
            if self._open is None:
                self._open = OpenHome(self.home, person)
            browser.unlocked = True

    def lock(self, browser: Browser) -> None:
        """The keys go when nobody needs them any more."""
        browser.unlocked = False
        browser.plays.clear()
        browser.search.clear()
        if not any(other.unlocked for other in self._browsers.values()):
            self.close()

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    @property
    def person(self) -> Unlocked:
        return self._opened().person

    @contextmanager
    def desk(self) -> Iterator[Desk]:
        with self._opened().desk(self.clock()) as desk:
            if desk.destroyed:
                self._forget_plays(set(desk.destroyed))
            yield desk

    def lock_idle(self) -> None:
        """Called each minute: what must be gone at its limit goes also while nobody clicks."""
        for cookie in list(self._browsers):
            found = self._browsers.get(cookie)
            if found is not None and found.unlocked and self.clock() - found.last_seen_utc_ms > IDLE_MS_MAX:
                self.lock(found)
        if self._open is not None:
            with self.desk():
                pass

    def _opened(self) -> OpenHome:
        if self._open is None:
            raise Refused("The desk is locked.")
        return self._open

    def _forget_plays(self, call_ids: set[str]) -> None:
        for browser in self._browsers.values():
            for name in [name for name, play in browser.plays.items() if play.row.call_id in call_ids]:
                del browser.plays[name]
