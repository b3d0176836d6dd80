"""Speech sends nothing and writes only its output: checked by an audit hook and by strace."""

import os
import re
import shutil
import subprocess
import sys

import pytest

# A word that is in no lexicon, for which hibari runs a network with onnxruntime, which has telemetry.
TEXT = "The zyxquorbliff is here."
SPEAK = (
    "import sys; from ns2_diffusers.cli import main;"
    f"sys.exit(main(['generate', {TEXT!r}, '--model', sys.argv[1], '--steps', '1', '-o', 'out.wav', '-q']))"
)
# One line for each file opened for writing, folder, renamed or removed file, socket and program.
HOOK = """
import os, sys
def hook(event, args):
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.system", "os.posix_spawn", "urllib.", "http.")):
        seen.append(f"{event} {args!r:.200}")
    elif event == "open" and isinstance(args[0], (str, bytes)):
        path, mode, flags = args
        if (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and os.path.abspath(os.fsdecode(path)) != os.devnull:
            seen.append(f"write {os.fsdecode(path)}")
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate"):
        seen.append(f"{event} {args[0]}")
seen = []
sys.addaudithook(hook)
sys.dont_write_bytecode = True
import atexit
atexit.register(lambda: os.write(1, "\\n".join(seen).encode()))
"""


@pytest.fixture
def home(tmp_path, tiny_pipeline_dir):
    """An empty home and working folder, and an environment that uses them."""
    for name in ("home", "work", "temporary"):
        (tmp_path / name).mkdir()
    gone = (
        "XDG_CACHE_HOME",
        "HF_HOME",
        "HF_HUB_CACHE",
        "ORT_DISABLE_TELEMETRY",
        "HF_HUB_OFFLINE",
        "TORCHINDUCTOR_CACHE_DIR",
    )
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    environment |= {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return tmp_path, environment


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_no_socket_and_no_file_but_the_output(home, tiny_pipeline_dir):
    folder, environment = home
    command = [sys.executable, "-c", HOOK + SPEAK, str(tiny_pipeline_dir)]
    done = subprocess.run(command, cwd=folder / "work", env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    seen = done.stdout.splitlines()
    # The hook works: it saw that the output was written.
    assert any(re.search(r"\.out\.partial-\w+\.wav", line) for line in seen)
    # Libraries check whether they can write to a temporary folder.
    allowed = re.compile(
        rf"(write|os\.\w+) ({re.escape(str(folder / 'temporary'))}/\S*|\S*\.out\.partial-\w+\.wav|out\.wav)$"
        # urllib3 binds a socket to check for IPv6; ctypes asks ldconfig for the path of libsndfile.
        r"|socket\.(__new__|bind) |(subprocess\.Popen|os\.posix_spawn) \('/sbin/ldconfig'|os\.mkdir .*torchinductor"
    )
    assert [line for line in seen if not allowed.match(line)] == []
    assert files_below(folder / "work") == ["out.wav"]
    assert files_below(folder / "home") == [] and files_below(folder / "temporary") == []


def can_trace():
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to trace")
def test_the_operating_system_sees_no_connection(home, tiny_pipeline_dir):
    """Python's audit hook would not see telemetry in C++."""
    folder, environment = home
    log = folder / "calls"
    trace = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=connect,sendto,sendmsg,openat,mkdir,rename"]
    command = [*trace, sys.executable, "-c", SPEAK, str(tiny_pipeline_dir)]
    done = subprocess.run(command, cwd=folder / "work", env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    calls = log.read_text(errors="replace").splitlines()
    assert any("out.partial-" in call for call in calls)
    sent = [call for call in calls if re.search(r"\b(connect|sendto|sendmsg)\(.*AF_INET", call)]
    assert sent == []
    written = [call for call in calls if "openat(" in call and re.search("O_WRONLY|O_RDWR|O_CREAT", call)]
    kept = re.compile(r'"(/dev/|/proc/|/sys/)|\.out\.partial-|' + re.escape(str(folder / "temporary")))
    assert [call for call in written if not kept.search(call) and " = -1 " not in call] == []
    assert files_below(folder / "home") == []
