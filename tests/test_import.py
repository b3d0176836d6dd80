"""`import ns2_diffusers` is fast, and works without optional libraries and beside broken ones."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ns2_diffusers

USE = """
import sys
for name in {missing!r}:
    sys.modules[name] = None  # importing it now raises ImportError
import ns2_diffusers
for name in ns2_diffusers.__all__:
    getattr(ns2_diffusers, name)
ns2_diffusers.EncodecCodec(num_filters=2)
ns2_diffusers.NaturalSpeech2Pipeline.from_pretrained(ns2_diffusers.bundled())
print("all works")
"""


def run(program, **environment):
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | environment
    )
    assert result.returncode == 0, result.stderr
    return result


def test_importing_imports_nothing_heavy():
    heavy = ("torch", "diffusers", "transformers", "encodec", "torchaudio", "hibari", "soundfile", "numpy")
    program = f"import sys, ns2_diffusers; print([name for name in {heavy} if name in sys.modules])"
    assert run(program).stdout.strip() == "[]"


def test_nothing_needs_encodec_and_torchaudio():
    assert run(USE.format(missing=["encodec", "torchaudio"])).stdout == "all works\n"


@pytest.mark.parametrize("first", ["", "import diffusers\n"])
def test_a_torchaudio_that_cannot_be_imported_is_taken_as_absent(tmp_path, first):
    """The CUDA build of torchaudio beside the CPU build of torch."""
    package = tmp_path / "torchaudio"
    package.mkdir()
    message = "libtorch_cuda.so: cannot open shared object file"
    (package / "__init__.py").write_text(f"import os\nraise OSError({message!r})\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = run(first + USE.format(missing=[]), PYTHONPATH=path)
    assert result.stdout == "all works\n"
    assert f"OSError: {message}" in result.stderr and "taken as absent" in result.stderr


def test_public_names():
    assert set(ns2_diffusers.__all__) <= set(dir(ns2_diffusers))
    for name in set(ns2_diffusers.__all__) - {"__version__"}:
        assert getattr(ns2_diffusers, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'NaturalSpeech3'"):
        _ = ns2_diffusers.NaturalSpeech3


def test_type_checkers_see_every_public_name():
    """py.typed is shipped, so without imports under TYPE_CHECKING every name would be Any."""
    tree = ast.parse(Path(ns2_diffusers.__file__).read_text(encoding="utf-8"))
    checked = next(
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    # `import x as x` re-exports a name explicitly.
    found = {alias.name: (node.module, alias.asname) for node in checked.body for alias in node.names}
    assert found == {name: (home, name) for name, home in ns2_diffusers._HOMES.items()}
    assert (Path(ns2_diffusers.__file__).parent / "py.typed").exists()
