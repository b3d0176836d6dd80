"""`import ns2_diffusers` is light, and needs nothing that only one codec needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ns2_diffusers

WITHOUT = """
import sys
for name in {missing!r}:
    sys.modules[name] = None  # importing it now raises ImportError
import ns2_diffusers
for name in ns2_diffusers.__all__:
    getattr(ns2_diffusers, name)
try:
    ns2_diffusers.EncodecCodec(num_filters=2)
except ImportError as error:
    print(error)
ns2_diffusers.VocosCodec(encoder_config=dict(dim=8, num_layers=1), backbone_config=dict(dim=8, num_layers=1))
print("the rest works")
"""


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_importing_imports_nothing_heavy():
    heavy = ("torch", "diffusers", "transformers", "encodec", "torchaudio", "hibari", "soundfile", "numpy")
    program = f"import sys, ns2_diffusers; print([name for name in {heavy} if name in sys.modules])"
    assert run(program).strip() == "[]"


@pytest.mark.parametrize("missing", [["torchaudio"], ["encodec", "torchaudio"]])
def test_only_encodec_needs_torchaudio(missing):
    output = run(WITHOUT.format(missing=missing))
    assert "torchaudio" in output and "pip install" in output
    assert "the rest works" in output


def test_public_names():
    assert set(ns2_diffusers.__all__) <= set(dir(ns2_diffusers))
    for name in set(ns2_diffusers.__all__) - {"__version__"}:
        assert getattr(ns2_diffusers, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'NaturalSpeech3'"):
        _ = ns2_diffusers.NaturalSpeech3


def test_type_checkers_see_every_public_name():
    """py.typed is shipped: without imports under TYPE_CHECKING every name would be Any."""
    tree = ast.parse(Path(ns2_diffusers.__file__).read_text(encoding="utf-8"))
    checked = next(
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    # `import x as x` is how a name is re-exported explicitly.
    found = {alias.name: (node.module, alias.asname) for node in checked.body for alias in node.names}
    assert found == {name: (home, name) for name, home in ns2_diffusers._HOMES.items()}
    assert (Path(ns2_diffusers.__file__).parent / "py.typed").exists()
