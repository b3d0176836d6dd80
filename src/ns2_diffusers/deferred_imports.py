"""Defers slow imports of other libraries that speech does not need until something uses them.

diffusers imports torch's compiler, peft, the models of transformers and all of its own models for a few names in
annotations, `isinstance` and decorators. These imports took most of the time of a start. While `deferring()` is
active, modules that import one of `DEFERRED` get a placeholder.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from types import SimpleNamespace
from typing import Any

COMPILER = "torch._dynamo"
# Deferred imports: importing module or package, imported module, and its names; none for the module itself.
DEFERRED = {
    ("diffusers.utils.torch_utils", COMPILER, ("allow_in_graph",)),
    ("diffusers.hooks.layerwise_casting", "peft.helpers", ("disable_input_dtype_casting",)),
    ("diffusers.hooks.layerwise_casting", "peft.tuners.tuners_utils", ("BaseTunerLayer",)),
    ("diffusers.loaders.lora_base", "peft.tuners.tuners_utils", ("BaseTunerLayer",)),
    ("diffusers.loaders.lora_base", "transformers", ("PreTrainedModel",)),
    ("diffusers.pipelines.onnx_utils", "onnxruntime", ()),
    ("diffusers.pipelines.pipeline_utils", "diffusers.models", ("AutoencoderKL",)),
    ("diffusers.pipelines.pipeline_loading_utils", "peft", ("PeftModel",)),
    ("diffusers.pipelines.pipeline_loading_utils", "transformers", ("PreTrainedModel",)),
    # Imported by many schedulers.
    ("diffusers.schedulers", "scipy.stats", ()),
    ("diffusers.schedulers", "scipy", ("integrate",)),
}
IMPORTERS = tuple({importer for importer, *_ in DEFERRED})

_lock = threading.Lock()
_active = 0
_real_import: Callable[..., Any] = builtins.__import__
_real_disable: Callable[..., Any] | None = None
# Classes and functions that were marked for torch's compiler before it was imported.
_marked: list[Any] = []


class Deferred:
    """A placeholder for a module, or for a name in one, which imports it on a call or an access to an attribute.

    `isinstance` and `issubclass` import nothing: they look for a class with that name and package.
    """

    def __init__(self, module: str, name: str | None = None):
        self.__dict__.update(_module=module, _name=name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(self._module), self._name)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        module = importlib.import_module(self._module)
        return getattr(module if self._name is None else getattr(module, self._name), name)

    def __instancecheck__(self, instance: Any) -> bool:
        return self.__subclasscheck__(type(instance))

    def __subclasscheck__(self, kind: type) -> bool:
        package = self._module.partition(".")[0]
        return any(
            each.__name__ == self._name and each.__module__.partition(".")[0] == package for each in kind.__mro__
        )


@contextmanager
def deferring() -> Iterator[None]:
    """Defer the imports of `DEFERRED` in modules that any thread imports in this context."""
    global _active, _real_import
    with _lock:
        _active += 1
        if _active == 1:
            _real_import, builtins.__import__ = builtins.__import__, _import
            _defer_compiler()
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            if not _active:
                builtins.__import__ = _real_import
                _release_compiler()


def _import(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
    """Replaces `builtins.__import__` while imports are deferred."""
    importer = (globals or {}).get("__name__", "")
    if name == "torch" and importer.startswith("diffusers."):
        module = _real_import(name, globals, locals, fromlist, level)
        with _lock:
            if _active:
                _defer_compiler()
        return module
    found = importer.startswith(IMPORTERS) and _find(importer, name, fromlist, level, globals)
    return found or _real_import(name, globals, locals, fromlist, level)


def _find(importer: str, name: str, fromlist: Any, level: int, globals: Any) -> Any:
    """The placeholder for an import, or None if it is not deferred."""
    whole = resolve_name("." * level + name, globals["__package__"])
    names = tuple(fromlist or ())
    package, _, rest = whole.partition(".")
    if not {(importer, whole, names), (importer.rpartition(".")[0], whole, names)} & DEFERRED:
        return None
    is_cheap = whole in sys.modules and whole not in ("diffusers.models", "transformers")
    if is_cheap or find_spec(package) is None:
        return None
    if whole == COMPILER:
        return SimpleNamespace(allow_in_graph=_allow_in_graph)
    if whole == "scipy":
        return SimpleNamespace(**{each: Deferred(f"{whole}.{each}") for each in names})
    if names:
        return SimpleNamespace(**{each: Deferred(whole, each) for each in names})
    return SimpleNamespace(**{rest: Deferred(whole)}) if rest else Deferred(whole)


# torch's compiler


def _allow_in_graph(item: Any) -> Any:
    """Call `torch._dynamo.allow_in_graph` once the compiler is imported."""
    if COMPILER in sys.modules:
        return sys.modules[COMPILER].allow_in_graph(item)
    if not _marked:
        sys.meta_path.insert(0, _CompilerFinder())
    _marked.append(item)
    return item


class _Compiler:
    """A placeholder for `torch._dynamo`; diffusers uses it to check whether a model is compiled."""

    eval_frame = SimpleNamespace(OptimizedModule=Deferred(COMPILER, "OptimizedModule"))

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(COMPILER), name)


def _defer_compiler() -> None:
    """Make `torch.compiler.disable` and `torch._dynamo` import the compiler only when something is compiled."""
    global _real_disable
    torch = sys.modules.get("torch")
    if COMPILER in sys.modules or not hasattr(torch, "compiler"):
        return
    assert torch is not None
    if torch.compiler.disable is not _disable:
        _real_disable, torch.compiler.disable = torch.compiler.disable, _disable
    torch.__dict__.setdefault("_dynamo", _Compiler())


def _release_compiler() -> None:
    torch: Any = sys.modules.get("torch")
    if _real_disable is not None:
        torch.compiler.disable = _real_disable
    if isinstance(getattr(torch, "__dict__", {}).get("_dynamo"), _Compiler):
        del torch._dynamo


def _disable(function: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    if function is None:
        return functools.partial(_disable, recursive=recursive, reason=reason)
    disabled = None

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal disabled
        if COMPILER not in sys.modules:
            return function(*args, **kwargs)
        if disabled is None:
            assert _real_disable is not None
            disabled = _real_disable(function, recursive, reason=reason)
        return disabled(*args, **kwargs)

    return wrapper


class _CompilerFinder(MetaPathFinder):
    """Finds torch's compiler as usual, and marks the items of `_marked` once it is imported."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != COMPILER:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _CompilerLoader(spec.loader)
        return spec


class WrappedLoader(Loader):
    """Wraps the loader of a module, for subclasses that do something when the module is executed."""

    def __init__(self, loader: Any):
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)


class _CompilerLoader(WrappedLoader):
    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        while _marked:
            module.allow_in_graph(_marked.pop())
