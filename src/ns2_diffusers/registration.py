"""Makes the classes of this package known to diffusers.

diffusers looks up the class of a pipeline as an attribute of the `diffusers` module, and the class of a component as
an attribute of the component's package, which must be listed in `LOADABLE_CLASSES`. No file can declare this, so this
module does it when diffusers is imported. `import ns2_diffusers` does not import diffusers and stays fast.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from .deferred_imports import WrappedLoader, deferring

PIPELINES = ("NaturalSpeech2Pipeline", "NaturalSpeech2UnconditionalPipeline")
_PACKAGE = __name__.rpartition(".")[0]


def register_pipelines() -> None:
    """Make the pipelines attributes of the `diffusers` module, at once or when it is imported."""
    if "diffusers" in sys.modules:
        hide_broken_torchaudio()
        _add_pipelines(sys.modules["diffusers"])
    elif not any(isinstance(finder, _DiffusersFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _DiffusersFinder())


def register_components() -> None:
    """Add this package to the packages whose components diffusers loads."""
    from diffusers.pipelines.pipeline_loading_utils import LOADABLE_CLASSES

    bases = ("ModelMixin", "SchedulerMixin", "DiffusionPipeline", "PreTrainedTokenizer")
    LOADABLE_CLASSES[_PACKAGE] = {name: ["save_pretrained", "from_pretrained"] for name in bases}


def hide_broken_torchaudio() -> None:
    """Make transformers ignore a torchaudio that is installed but cannot be imported.

    transformers imports any installed torchaudio. A torchaudio that was built for another torch, such as a CUDA build
    beside the CPU build of torch, raises an OSError. Then the audio functions of transformers cannot be imported, and
    neither can diffusers, which uses them. This package does not need torchaudio.
    """
    if "torchaudio" in sys.modules or find_spec("torchaudio") is None:
        return
    try:
        importlib.import_module("torchaudio")
    except Exception as error:
        # With None, `find_spec` finds nothing and an import raises ModuleNotFoundError.
        sys.modules["torchaudio"] = None  # type: ignore[assignment]
        warnings.warn(
            f"torchaudio is installed but cannot be imported ({type(error).__name__}: {error}): it is taken as "
            "absent. Uninstall it, or install the build of it that fits the installed torch.",
            stacklevel=2,
        )


def _add_pipelines(module: ModuleType) -> None:
    lazy = type(module)
    if getattr(lazy, "_has_ns2_pipelines", False):
        return

    class DiffusersModule(lazy):  # type: ignore[valid-type, misc]
        """The `diffusers` module, which also imports the pipelines of this package at their first use."""

        _has_ns2_pipelines = True

        def __getattr__(self, name: str) -> Any:
            if name in PIPELINES:
                value = getattr(importlib.import_module(_PACKAGE), name)
                setattr(self, name, value)
                return value
            return super().__getattr__(name)

    module.__class__ = DiffusersModule


class _DiffusersFinder(MetaPathFinder):
    """Finds `diffusers` as usual, checks torchaudio before, and adds the pipelines once it is imported."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname in ("diffusers", "transformers"):
            hide_broken_torchaudio()
        if fullname != "diffusers":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _DiffusersLoader(spec.loader)
        return spec


class _DiffusersLoader(WrappedLoader):
    def exec_module(self, module: ModuleType) -> None:
        with deferring():
            self._loader.exec_module(module)
        # diffusers replaces the executed module by a lazy one.
        _add_pipelines(sys.modules["diffusers"])
