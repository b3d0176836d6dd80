"""How diffusers finds the classes of this package.

diffusers looks a pipeline's class up as an attribute of the `diffusers` module, and a component's as an attribute of
the component's own package, which must be listed in `LOADABLE_CLASSES`. Neither can be declared in a file, so it is
done here, and only when diffusers is imported: `import ns2_diffusers` alone stays quick.
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
    """Make our pipelines attributes of the `diffusers` module: at once if it is imported, else when it is."""
    if "diffusers" in sys.modules:
        hide_broken_torchaudio()
        _add_pipelines(sys.modules["diffusers"])
    elif not any(isinstance(finder, _DiffusersFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _DiffusersFinder())


def register_components() -> None:
    """List this package among those whose components diffusers loads."""
    from diffusers.pipelines.pipeline_loading_utils import LOADABLE_CLASSES

    bases = ("ModelMixin", "SchedulerMixin", "DiffusionPipeline", "PreTrainedTokenizer")
    LOADABLE_CLASSES[_PACKAGE] = {name: ["save_pretrained", "from_pretrained"] for name in bases}


def hide_broken_torchaudio() -> None:
    """Let transformers do without a torchaudio that is installed and cannot be imported.

    transformers imports any installed torchaudio. One that was built for another torch, such as a CUDA build beside
    the CPU build of torch, raises an OSError then, and with it everything that imports transformers' audio functions,
    diffusers among them. Nothing here needs torchaudio.
    """
    if "torchaudio" in sys.modules or find_spec("torchaudio") is None:
        return
    try:
        importlib.import_module("torchaudio")
    except Exception as error:
        # None lets `find_spec` find nothing, and an import raise ModuleNotFoundError.
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
        """The `diffusers` module, which imports our pipelines when they are asked for, as it does its own."""

        _has_ns2_pipelines = True

        def __getattr__(self, name: str) -> Any:
            if name in PIPELINES:
                value = getattr(importlib.import_module(_PACKAGE), name)
                setattr(self, name, value)
                return value
            return super().__getattr__(name)

    module.__class__ = DiffusersModule


class _DiffusersFinder(MetaPathFinder):
    """Finds `diffusers` as others would, and adds our pipelines once it is imported; looks at torchaudio before."""

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
        # diffusers puts a lazy module in the place of the one that was executed.
        _add_pipelines(sys.modules["diffusers"])
