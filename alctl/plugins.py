"""A plugin is one file with one class; its name is the file's name, with hyphens."""

import inspect
import math
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from alctl.errors import AlctlError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Plugins(Generic[T]):
    """The classes of one contract: every file of ``package``, and entry points of other distributions.

    A package such as ``alctl.model.tasks`` is joined by the entry points of the group ``alctl.tasks``.
    """

    def __init__(self, package: str, base: type[T]) -> None:
        self.package = package
        self.base = base
        self.kind = package.rpartition(".")[2]

    def names(self) -> list[str]:
        """Every name, sorted, without importing any plugin."""
        return sorted({*self._files(), *self._entry_points()})

    def load(self, name: str) -> type[T]:
        """Return the class called ``name``; an unknown name raises AlctlError listing the choices."""
        if name in self._files():
            return self._class_in(f"{self.package}.{name.replace('-', '_')}")
        if name in (others := self._entry_points()):
            return self._class_of(others[name])
        raise AlctlError(unknown(name, self.names(), self.kind))

    def name_of(self, plugin: type[T]) -> str:
        """Return the name that `load` knows a class by; one that is no plugin is called by where it is defined."""
        package, _, module = plugin.__module__.rpartition(".")
        if package == self.package:
            return module.replace("_", "-")
        where = f"{plugin.__module__}:{plugin.__qualname__}"
        points = self._entry_points().items()
        return next((name for name, point in points if point.value == where), where)

    def _files(self) -> list[str]:
        spec = find_spec(self.package)
        folders = spec.submodule_search_locations if spec else None
        return [module.name.replace("_", "-") for module in pkgutil.iter_modules(folders or [])]

    def _entry_points(self) -> "dict[str, EntryPoint]":
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group=f"alctl.{self.kind}")}

    def _class_of(self, point: "EntryPoint") -> type[T]:
        whose = f"{point.name!r} of {point.dist.name if point.dist else point.value}"
        try:
            found = point.load()
        except (ImportError, AttributeError) as error:
            raise AlctlError(f"{whose} cannot be loaded: {error}") from error
        if not (inspect.isclass(found) and issubclass(found, self.base)):
            raise AlctlError(f"{whose} is not a {self.base.__name__}")
        return found

    def _class_in(self, module_name: str) -> type[T]:
        module = import_module(module_name)
        classes = [
            found
            for _, found in inspect.getmembers(module, inspect.isclass)
            if issubclass(found, self.base)
            and found.__module__ == module_name
            and not inspect.isabstract(found)
        ]
        if len(classes) != 1:
            raise AlctlError(f"{module_name} must hold exactly one {self.base.__name__}, not {len(classes)}")
        return classes[0]


def configured(kind: type[T], params: Mapping[str, Any], what: str) -> T:
    """Build a plugin from text or values by name; ``what`` names it where one is unknown or of the wrong kind."""
    known = [field.name for field in fields(kind)] if is_dataclass(kind) else []
    if strange := sorted(set(params) - set(known)):
        raise AlctlError(f"{what} has no parameter {strange[0]!r}; it has: {', '.join(known) or 'none'}")
    if not params:
        return kind()
    from pydantic import TypeAdapter, ValidationError

    try:
        made = TypeAdapter(kind).validate_python(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        raise AlctlError(f"{what}: {first['loc'][0]}: {first['msg']}") from error
    for name in params:
        value = getattr(made, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise AlctlError(f"{what}: {name}: Input should be a finite number, not {value}")
    return made


def unknown(name: str, choices: Sequence[str], what: str) -> str:
    """Return the sentence for a name that is none of ``choices``, with the nearest one."""
    near = get_close_matches(name, choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name!r} is none of the {what}: {', '.join(choices)}{hint}"
