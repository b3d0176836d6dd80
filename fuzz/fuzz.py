"""Run one target under atheris: python fuzz/fuzz.py TARGET [CORPUS] [options of libFuzzer]."""

import sys

import atheris

with atheris.instrument_imports(include=["ns2_diffusers", "targets"]):
    from targets import TARGETS, outcome

if __name__ == "__main__":
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        sys.exit(f"name a target: {', '.join(TARGETS)}.")
    atheris.Setup(sys.argv, lambda data: outcome(name, data))
    atheris.Fuzz()
