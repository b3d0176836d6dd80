"""Kills of a small program that resumes correctly or incorrectly, with and without a log."""

import sys
import time

import pytest

import kill_and_resume

# This program writes six files, each under another name that it then renames, and keeps those that exist.
CAREFUL = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir(exist_ok=True)
for number in range(6):
    path = folder / f"{number}.txt"
    if not path.exists():
        beside = folder / "beside"
        beside.write_text(str(number))
        time.sleep(0.05)
        beside.rename(path)
"""


def run(tmp_path, at_start, *options):
    program = CAREFUL.replace("for number", f"{at_start}\nfor number")
    command = ["--work_dir", str(tmp_path / "work"), "--kills", "2", *options]
    command += ["--", sys.executable, "-c", program, "{output_dir}"]
    return kill_and_resume.main(kill_and_resume.parse_args(command))


def test_a_careful_program_ends_the_same(tmp_path, capsys):
    assert run(tmp_path, "pass") == []
    table = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert table[2] == "2" and int(table[3]) >= 1 and table[4] == "6" and table[6] == "0 |"


def test_what_a_kill_changes_is_found_unless_it_is_excluded(tmp_path):
    started = "(folder / 'log').open('a').write('started')"
    assert run(tmp_path, started) == ["log"]
    assert run(tmp_path, started, "--exclude", "log") == []
    assert run(tmp_path, started, "--compare", "*.txt") == []


def test_a_program_that_fails_is_no_measurement(tmp_path):
    with pytest.raises(RuntimeError, match="ended with 1:[\\s\\S]*ZeroDivisionError"):
        run(tmp_path, "1 / 0")
    with pytest.raises(ValueError, match="wrote nothing"):
        run(tmp_path, "pass", "--compare", "*.parquet")


def test_children_die_with_their_parent(tmp_path):
    """Also children in a session of their own, as launchers start them."""
    program = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]], "
    program += "start_new_session=True); time.sleep(60)"
    child = f"import pathlib, time; [pathlib.Path({str(tmp_path / 'beat')!r}).write_text(str(i)) or time.sleep(0.05) "
    child += "for i in range(200)]"
    process = kill_and_resume.start([sys.executable, "-c", program, child], tmp_path, tmp_path / "log.txt")
    kill_and_resume.wait_for_writing(process, tmp_path)
    while not (tmp_path / "beat").exists():
        assert process.poll() is None
    kill_and_resume.kill(process)
    before = (tmp_path / "beat").read_text()
    time.sleep(0.5)
    assert (tmp_path / "beat").read_text() == before
