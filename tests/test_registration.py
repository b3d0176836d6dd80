"""diffusers finds the classes of this package, and `import ns2_diffusers` stays fast."""

import subprocess
import sys

import pytest


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("first", ["ns2_diffusers", "diffusers"])
def test_pipelines_are_attributes_of_diffusers(first):
    second = {"ns2_diffusers": "diffusers", "diffusers": "ns2_diffusers"}[first]
    program = (
        f"import {first}, {second}; import diffusers, ns2_diffusers\n"
        "for name in ('NaturalSpeech2Pipeline', 'NaturalSpeech2UnconditionalPipeline'):\n"
        "    print(getattr(diffusers, name) is getattr(ns2_diffusers, name))\n"
        "print(hasattr(diffusers, 'NoSuchPipeline'), diffusers.DDIMScheduler.__name__)"
    )
    assert run(program) == ["True", "True", "False", "DDIMScheduler"]


def test_importing_imports_neither_diffusers_nor_torch():
    program = "import sys, ns2_diffusers; print([name in sys.modules for name in ('diffusers', 'torch')])"
    assert run(program) == ["[False,", "False]"]


def test_registering_twice_changes_nothing():
    program = (
        "import diffusers, ns2_diffusers, ns2_diffusers.registration as r\n"
        "kind = type(diffusers); r.register_pipelines(); print(type(diffusers) is kind)"
    )
    assert run(program) == ["True"]
