"""`make install` puts in place what boot/TREE.md says, twice without a difference, and takes away only that."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from boot import install
from tests.boot.conftest import REPOSITORY

FOLDED = ("/opt/tacet/lib/firmware/", "/opt/tacet/lib/hw/", "/opt/tacet/lib/boot/", "/usr/share/doc/tacet/")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def contents(root: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(root))] = b"-> " + str(path.readlink()).encode()
        elif path.is_file():
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def folded(name: str) -> str:
    path = f"/{name}"
    for folder in (*FOLDED, f"/opt/tacet/venv/lib/python{VERSION}/site-packages/"):
        if path.startswith(folder):
            return folder
    return path


def test_the_installed_tree_is_the_documented_one(installed: Path) -> None:
    documented = paths(section(REPOSITORY / "boot/TREE.md", until="## With"))
    documented = {path.replace("pythonV", f"python{VERSION}") for path in documented}
    assert {folded(name) for name in contents(installed)} == documented


def test_a_recorder_with_voip_lines_gets_the_documented_files_more(tmp_path: Path, installed: Path) -> None:
    assert install.main(["install", "--no-packages", "--voip", "--destdir", str(tmp_path)]) == 0
    more = {f"/{name}" for name in set(contents(tmp_path)) - set(contents(installed))}
    page = (REPOSITORY / "boot/TREE.md").read_text().partition("## With")[2].partition("## What is not")[0]
    assert more == paths(page)


def paths(page: str) -> set[str]:
    return set(re.findall(r"^\| `(/[^`]+)` \|", page, re.M))


def section(path: Path, until: str) -> str:
    return path.read_text().partition(until)[0]


def test_a_second_install_changes_nothing(tmp_path: Path) -> None:
    assert install.main(["install", "--no-packages", "--destdir", str(tmp_path)]) == 0
    once = contents(tmp_path)
    assert install.main(["install", "--no-packages", "--destdir", str(tmp_path)]) == 0
    assert contents(tmp_path) == once


def test_uninstall_leaves_what_was_there_before_and_the_recordings(tmp_path: Path) -> None:
    ring = tmp_path / "var/lib/tacet/ring"
    ring.parent.mkdir(parents=True)
    ring.write_bytes(b"sealed")
    hosts = tmp_path / "etc/hosts"
    hosts.parent.mkdir()
    hosts.write_text("127.0.0.1 localhost\n")
    config = tmp_path / "boot/firmware/config.txt"
    config.parent.mkdir(parents=True)
    config.write_text("[all]\n")
    before = contents(tmp_path)
    assert install.main(["install", "--no-packages", "--destdir", str(tmp_path)]) == 0
    assert config.read_text() == "[all]\ninclude tacet-config.txt\n"
    assert install.main(["uninstall", "--destdir", str(tmp_path)]) == 0
    assert contents(tmp_path) == before


def test_uninstall_where_nothing_is_installed_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert install.main(["uninstall", "--destdir", str(tmp_path)]) == 1
    assert "nothing was changed" in capsys.readouterr().err


def test_an_update_keeps_the_settings_of_this_machine(tmp_path: Path) -> None:
    assert install.main(["install", "--no-packages", "--destdir", str(tmp_path)]) == 0
    settings = tmp_path / "etc/tacet/tacet.toml"
    settings.write_text("# two lines here\n")
    assert install.main(["install", "--no-packages", "--destdir", str(tmp_path)]) == 0
    assert settings.read_text() == "# two lines here\n"
    assert settings.with_suffix(".toml.new").is_file()
    assert install.main(["uninstall", "--destdir", str(tmp_path)]) == 0
    assert settings.is_file()


def test_the_recorders_code_runs_from_its_place_alone(installed: Path) -> None:
    """The same interpreter flags as the unit: nothing of the checkout or of the working directory is imported."""
    library = installed / "opt/tacet/lib"
    code = f"import sys; sys.path.insert(0, {str(library)!r}); import firmware.units as u; print(u.__file__)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == str(library / "firmware/units.py")


def test_every_installed_file_has_its_digest_in_the_manifest(installed: Path) -> None:
    listed = {line.partition("  ")[2] for line in (installed / install.MANIFEST).read_text().splitlines()}
    files = {name for name in contents(installed) if "__pycache__" not in name}
    assert files - listed == {install.MANIFEST}


def test_users_and_folders_can_be_made_from_the_installed_files(installed: Path, tmp_path: Path) -> None:
    for folder in ("sysusers.d", "tmpfiles.d"):
        target = tmp_path / "etc" / folder
        target.mkdir(parents=True)
        target.joinpath("tacet.conf").write_bytes((installed / "etc" / folder / "tacet.conf").read_bytes())
    (tmp_path / "etc/group").write_text("root:x:0:\naudio:x:29:\n")
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    for program in ("systemd-sysusers", "systemd-tmpfiles"):
        options = ["--create"] if program == "systemd-tmpfiles" else []
        done = subprocess.run(
            [program, f"--root={tmp_path}", *options, "tacet.conf"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    groups = {line.split(":")[0]: line.split(":")[3] for line in (tmp_path / "etc/group").read_text().splitlines()}
    assert groups["audio"] == "tacet"
    assert groups["gpio"] == "tacet"
    assert (tmp_path / "run/tacet-stick").stat().st_mode & 0o7777 == 0o2750
