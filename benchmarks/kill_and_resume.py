"""Kill a command at random moments, start it again, and check whether it ends with the same files.

    python benchmarks/kill_and_resume.py --compare "*.parquet" "*.json*" -- python examples/prepare_dataset.py \
        --metadata examples/asterisk/metadata.csv --codec my-codec --shard_size 2 --output_dir {output_dir}

The command first runs once undisturbed, to measure its duration and its output. Then it runs repeatedly in another
folder and is killed (SIGKILL, with all its children) at random moments after it began to write, within the writing
time of the undisturbed run. When a run finishes before its kill, its files are compared, and the command starts anew
in an empty folder, until the number of kills is reached. The script prints one table line and exits with 1 if any file
differs.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from ns2_diffusers.training.arguments import HelpFormatter


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="number of times to kill the command")
    parser.add_argument("--compare", nargs="+", default=["*"], help="patterns of files that are compared")
    parser.add_argument("--exclude", nargs="*", default=[], help="patterns of files that are not compared")
    parser.add_argument("--work_dir", default="outputs/kill_and_resume", help="directory of the runs")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments of the kills")
    parser.add_argument(
        "command", nargs="+", help="the command, after --; {output_dir} in it is replaced by the output directory"
    )
    args = parser.parse_args(argv)
    if not any("{output_dir}" in word for word in args.command):
        parser.error("the command must write to {output_dir}.")
    return args


def main(args):
    work = Path(args.work_dir)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    undisturbed = work / "undisturbed"
    seconds, first_file = measure(args.command, undisturbed, work / "log.txt")
    wanted = digests(undisturbed, args)
    if not wanted:
        raise ValueError(f"the command wrote nothing to {undisturbed} that --compare {args.compare} names.")
    print(f"{seconds:.1f} s undisturbed, the first file after {first_file:.1f} s, {len(wanted)} files to compare")

    moments = random.Random(args.seed)
    kills, ends, differences = 0, 0, set()
    while kills < args.kills or (work / "killed").exists():
        moment = moments.uniform(0, seconds - first_file) if kills < args.kills else None
        if run(args.command, work / "killed", work / "log.txt", moment):
            kills += 1
            print(f"kill {kills}, {moment:.1f} s after it began to write", flush=True)
            continue
        ends += 1
        found = digests(work / "killed", args)
        differences |= {name for name in {*wanted, *found} if wanted.get(name) != found.get(name)}
        shutil.rmtree(work / "killed")
        print(f"end {ends}: files that differ so far: {sorted(differences)}", flush=True)

    size = sum(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file())
    print("| script | undisturbed | kills | ends compared | files | size | files that differ |")
    print("|---|---|---|---|---|---|---|")
    script = next((Path(word).name for word in args.command if word.endswith(".py")), args.command[0])
    cells = f"`{script}`", f"{seconds:.1f} s", kills, ends, len(wanted), f"{size / 1e6:.2f} MB", len(differences)
    print("| " + " | ".join(map(str, cells)) + " |")
    return sorted(differences)


def measure(command, folder, log):
    """Return the seconds that an undisturbed run takes, and the seconds until it writes its first file."""
    started = time.monotonic()
    process = start(command, folder, log)
    wait_for_writing(process, folder)
    first_file = time.monotonic() - started
    process.wait()
    check(process, log)
    return time.monotonic() - started, first_file


def run(command, folder, log, moment):
    """Run the command; kill it `moment` seconds after its first write (None: never). Return whether it was killed."""
    process = start(command, folder, log)
    if moment is not None:
        wait_for_writing(process, folder)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        kill(process)
        return True
    check(process, log)
    return False


def wait_for_writing(process, folder):
    before = listing(folder)
    while process.poll() is None and listing(folder) == before:
        time.sleep(0.01)


def listing(folder):
    return sorted(os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)


def start(command, folder, log):
    words = [word.replace("{output_dir}", str(folder)) for word in command]
    with open(log, "wb") as file:
        return subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT)


def kill(process):
    """Kill a process and all its descendants: launchers give their workers separate sessions."""
    parent = psutil.Process(process.pid)
    parent.suspend()  # otherwise it would continue to start children
    for child in [parent, *parent.children(recursive=True)]:
        child.kill()
    process.wait()


def check(process, log):
    if process.returncode:
        raise RuntimeError(f"the command ended with {process.returncode}:\n{log.read_text(errors='replace')[-3000:]}")


def digests(folder, args):
    """Return the SHA-256 of the files that --compare names and --exclude does not, by path."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    matching = [
        path
        for path in files
        if any(path.match(pattern) for pattern in args.compare)
        and not any(path.match(pattern) for pattern in args.exclude)
    ]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in matching}


if __name__ == "__main__":
    sys.exit(1 if main(parse_args()) else 0)
