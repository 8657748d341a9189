"""Whatever bytes a stick holds: the desk and the offline reader name what is wrong and never fall over."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.store.ciphers import REAL
from firmware.store.errors import Malformed
from tests.desk.rig import run
from tools import ringread
from tools.desk import keychain
from tools.desk.callfile import read_call, read_index, records
from tools.desk.findings import Findings

GENESIS = REAL.public_key(b"\7" * 32)
"""A key whose owner signs nothing here. (Not 32 zeros: that is a point under which a signature of zeros is good.)"""

HEX32, HEX64 = (st.binary(min_size=n, max_size=n).map(lambda b: b.hex().encode()) for n in (32, 64))
LOG_LINES = st.builds(
    lambda seq, event, fields, prev, signature: b"|".join((b"%d" % seq, b"1", event, fields, prev, signature)),
    st.integers(1, 9),
    st.sampled_from([b"CALL", b"DAYEND", b"DISCLOSE"]),
    st.sampled_from([b"", b"epoch=0;lines=1;next=" + b"a" * 64, b"call=" + b"b" * 32]),
    HEX32,
    HEX64,
)
LINES = st.lists(st.one_of(st.binary(max_size=80), LOG_LINES), max_size=5)


@given(st.binary(max_size=600))
def test_any_key_file_is_a_call_or_malformed(data: bytes) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "1.key"
        path.write_bytes(data)
        for read in (read_call, lambda path: list(read_index(path))):
            with suppress(Malformed):
                read(path)
        with suppress(ringread.Damaged):
            ringread.parse_call(data)


@given(st.lists(st.tuples(st.sampled_from([1, 2, 4, 16, 99]), st.binary(max_size=120)), max_size=4))
def test_any_records_are_read_whole_or_malformed(parts: list[tuple[int, bytes]]) -> None:
    data = b"".join(bytes([kind]) + len(body).to_bytes(4, "big") + body for kind, body in parts)
    assert list(records(data)) == parts
    with TemporaryDirectory() as directory:
        path = Path(directory) / "1.key"
        path.write_bytes(data)
        for read in (read_call, lambda path: list(read_index(path))):
            with suppress(Malformed):
                read(path)


@given(st.lists(st.one_of(st.just(b"TCF1\x00\xc0"), st.binary(max_size=300), st.just(bytes(4096))), max_size=5))
def test_any_file_of_frames_is_walked_to_its_end(parts: list[bytes]) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "1.tcf"
        path.write_bytes(b"".join(parts))
        assert all(isinstance(found, str) for found in ringread.split_frames(path))


@given(LINES)
def test_any_log_is_followed_as_far_as_it_is_signed(lines: list[bytes]) -> None:
    findings = Findings()
    chain = keychain.follow(b"\n".join(lines), "SIM-TEST01", GENESIS, None, findings)
    assert findings
    assert not chain.lines
    report = ringread.Report()
    with TemporaryDirectory() as directory:
        bag = Path(directory) / "bag"
        (bag / "data").mkdir(parents=True)
        (bag / "data" / "audit.log").write_bytes(b"\n".join(lines))
        Path(directory, "ENROL.txt").write_text(f"genesis_public: {GENESIS.hex()}\n")
        ringread.read_log(bag, "SIM-TEST01", None, report, sliced=False)
    assert report.damaged or report.unverified


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "bagit.txt",
                "manifest-sha512.txt",
                "tagmanifest-sha512.txt",
                "bag-info.txt",
                "data/order.txt",
                "data/audit.log",
                "data/1.key",
                "data/1.tcf",
                "data/index/1.key",
                "data/site.toml",
                "REPLY.txt",
            ]
        ),
        st.one_of(
            st.binary(max_size=200),
            st.text(max_size=100).map(str.encode),
            st.just(b"a" * 128 + b"  ../../../etc/passwd\n"),
        ),
        max_size=8,
    )
)
def test_any_answer_is_verified_without_falling_over(files: dict[str, bytes]) -> None:
    with TemporaryDirectory() as directory:
        bag = Path(directory) / "TACET" / "SIM-TEST01" / ("ab" * 16)
        (bag / "data" / "index").mkdir(parents=True)
        for name, data in files.items():
            (bag / name).write_bytes(data)
        checked = run("verify", directory)
        assert checked.code in (6, 7)
        assert "Traceback" not in checked.err
