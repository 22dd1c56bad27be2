"""Files of a run: together or not at all, one run per output, reports that say they are whole."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ifdkit.data import atomic
from ifdkit.data.atomic import INCOMPLETE, OutputFiles, create_folder, replace_in_folder
from ifdkit.data.locks import output_lock
from ifdkit.data.report_folder import check_report_folder
from ifdkit.errors import OutputError
from tests.faults import FaultyOs, failing

pytestmark = pytest.mark.long

posix = pytest.mark.skipif(os.name != "posix", reason="hard links, modes and signals of POSIX")
COMPANIONS = (".log", ".manifest.json")


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here survives a power failure, so nothing is synced."""
    monkeypatch.setattr(atomic, "os", FaultyOs())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes()
            for one in folder.rglob("*") if one.is_file()}  # fmt: skip


def write(output: Path, text: bytes, *companions: str) -> None:
    with OutputFiles(output, *COMPANIONS) as files:
        files.open().write(text)
        for one in companions:
            files.write(one, text)


def test_files_appear_together_and_old_companions_go(tmp_path: Path) -> None:
    output = tmp_path / "out"
    write(output, b"old", *COMPANIONS)
    assert contents(tmp_path) == {"out": b"old", "out.log": b"old", "out.manifest.json": b"old"}
    write(output, b"new", ".manifest.json")
    assert contents(tmp_path) == {"out": b"new", "out.manifest.json": b"new"}


def test_nothing_changes_if_the_block_raises(tmp_path: Path) -> None:
    output = tmp_path / "out"
    write(output, b"old", *COMPANIONS)
    before = contents(tmp_path)
    with pytest.raises(TypeError), OutputFiles(output, *COMPANIONS) as files:
        files.open().write("not bytes")  # type: ignore[call-overload]
    assert contents(tmp_path) == before


def test_the_hash_is_that_of_what_was_written(tmp_path: Path) -> None:
    """Also if another program, which knows no locks, writes the output meanwhile."""
    import hashlib

    output = tmp_path / "out"
    with OutputFiles(output) as files:
        files.open().write(b"mine")
        output.write_bytes(b"theirs")
        assert files.sha256() == hashlib.sha256(b"mine").hexdigest()
    assert output.read_bytes() == b"mine"


@pytest.mark.parametrize("companion", COMPANIONS)
def test_a_companion_that_is_a_folder_is_refused_first(tmp_path: Path, companion: str) -> None:
    (tmp_path / f"out{companion}").mkdir()
    with pytest.raises(OutputError, match=f"out{companion}, which would go with it, is a folder"):
        OutputFiles(tmp_path / "out", *COMPANIONS).__enter__()
    assert [one.name for one in tmp_path.iterdir()] == [f"out{companion}"]


@posix
def test_modes_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with OutputFiles(tmp_path / "out", ".private") as files:
            files.open().write(b"x")
            files.open(".private", mode=0o600).write(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "out.private").stat().st_mode & 0o777 == 0o600


@posix
@pytest.mark.parametrize("short", [False, True])
def test_the_manifest_never_describes_another_output(tmp_path: Path, short: bool) -> None:
    """Killed at each step: the manifest is that of the output beside it, or there is none."""
    output = tmp_path / "out"
    steps = len(_steps(tmp_path / "dry", short=short))
    assert steps >= 15
    for number in range(steps):
        write(output, b"old", *COMPANIONS)
        child = os.fork()
        if not child:
            vars(atomic)["os"] = FaultyOs(number, kills=True, short=short)
            write(output, b"new", *COMPANIONS)
            os._exit(0)
        os.waitpid(child, 0)
        now = contents(tmp_path)
        assert now["out"] in (b"old", b"new")
        for companion in COMPANIONS:
            assert now.get(f"out{companion}", now["out"]) == now["out"]
        write(output, b"new", *COMPANIONS)
        expected = {"out": b"new", "out.log": b"new", "out.manifest.json": b"new"}
        assert contents(tmp_path) == expected, "nothing is left behind"


def _steps(output: Path, *, short: bool = False) -> list[str]:
    write(output, b"old", *COMPANIONS)
    with failing(FaultyOs(short=short)) as faulty:
        write(output, b"new", *COMPANIONS)
    for one in ("", *COMPANIONS):
        Path(f"{output}{one}").unlink()
    return faulty.steps


@posix
@pytest.mark.parametrize("lasts", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_a_step_that_fails_leaves_all_or_nothing(tmp_path: Path, code: int, lasts: bool) -> None:
    output = tmp_path / "out"
    for number, name in enumerate(_steps(output)):
        write(output, b"old", *COMPANIONS)
        old = contents(tmp_path)
        message = ""
        try:
            with failing(FaultyOs(number, code, lasts=lasts)):
                write(output, b"new", *COMPANIONS)
        except OutputError as error:
            message = str(error)
        now = {k: v for k, v in contents(tmp_path).items() if not k.startswith(".")}
        if "is incomplete" in message:
            assert lasts, "one fault can be undone"
            assert set(now.values()) == {now["out"]}, "nothing describes another output"
        elif set(now.values()) == {b"new"}:
            assert len(now) == 3
            assert not message or "a power failure may undo it" in message
        else:
            assert now == old, (number, name)
            assert os.strerror(code) in message
        write(output, b"newer", *COMPANIONS)
        assert set(contents(tmp_path).values()) == {b"newer"} or lasts


@posix
def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", no_links)
    write(tmp_path / "out", b"old", *COMPANIONS)
    write(tmp_path / "out", b"new", *COMPANIONS)
    assert set(contents(tmp_path).values()) == {b"new"}


def test_temporary_files_of_killed_runs_are_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".out.{dead.pid}.abcd.inprogress"
    kept = tmp_path / f".out.{os.getppid()}.abcd.inprogress"
    for one in (left, kept):
        one.write_bytes(b"x")
    write(tmp_path / "out", b"new")
    assert not left.exists()
    assert kept.exists()


def test_a_second_run_on_one_output_is_refused_at_once(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with OutputFiles(output, *COMPANIONS) as files:
        with pytest.raises(OutputError, match=rf"out is being written by another run \(process"
                           f" {os.getpid()}"):  # fmt: skip
            OutputFiles(output, *COMPANIONS).__enter__()
        files.open().write(b"first")
    assert contents(tmp_path) == {"out": b"first"}, "and no lock file is left"


@posix
def test_a_killed_run_does_not_keep_its_lock(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path;"
        "from ifdkit.data.locks import output_lock;"
        "lock = output_lock(Path(sys.argv[1])); lock.__enter__();"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")])
    assert [one.name for one in tmp_path.iterdir()] == [".out.lock"]
    write(tmp_path / "out", b"new")
    assert contents(tmp_path) == {"out": b"new"}


def test_a_lock_excludes_while_its_file_is_removed_again_and_again(tmp_path: Path) -> None:
    """Whoever opened a lock file that was then removed must not take it for the current one."""
    inside, most, refused = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, refused
        for _ in range(60):
            try:
                with output_lock(tmp_path / "out", timeout_s=0.05):
                    with guard:
                        inside += 1
                        most = max(most, inside)
                    with guard:
                        inside -= 1
            except OutputError:
                refused += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert most == 1
    assert refused < 480
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_reports_are_replaced_whole_or_not_at_all(tmp_path: Path, code: int) -> None:
    folder = tmp_path / "report"
    old, new = {"a.html": b"old", "b.json": b"old"}, {"a.html": b"new", "b.json": b"new"}
    for make in (create_folder, replace_in_folder):
        number = 0
        while True:
            if make is replace_in_folder:
                create_folder(folder, old)
            with failing(FaultyOs(number, code)) as faulty:
                try:
                    make(folder, new)
                    message = ""
                except OutputError as error:
                    message = str(error)
            now = {k: v for k, v in contents(tmp_path).items() if ".inprogress" not in k}
            whole = {f"report/{name}": text for name, text in new.items()}
            before = {f"report/{k}": v for k, v in old.items()} if make is replace_in_folder else {}
            assert now == (before if message and "power failure" not in message else whole)
            for one in folder.iterdir() if folder.exists() else ():
                one.unlink()
            if folder.exists():
                folder.rmdir()
            if len(faulty.steps) <= number:
                break
            number += 1


def test_an_incomplete_report_is_recognised_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(b"new")
    (tmp_path / INCOMPLETE).write_bytes(b"")
    check_report_folder(tmp_path, "audit", file="audit.json", schema="ifdkit.audit/")
    replace_in_folder(tmp_path, {"index.html": b"newer", "audit.json": b"{}"})
    assert contents(tmp_path) == {"index.html": b"newer", "audit.json": b"{}"}


def test_a_report_is_marked_while_its_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    seen = []

    class Watching(FaultyOs):
        def __getattr__(self, name: str) -> object:
            if name == "replace":
                seen.append((tmp_path / INCOMPLETE).exists())
            return super().__getattr__(name)

    with failing(Watching()):
        replace_in_folder(tmp_path, {"a": b"new", "b": b"new"})
    assert seen == [False, True, True], "the marker is the first to be put in its place"
    assert json.dumps(sorted(contents(tmp_path))) == '["a", "b"]'
