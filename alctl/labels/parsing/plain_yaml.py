"""Read small YAML files that may be hostile: every value stays text, in lists and mappings.

PyYAML reads it. Of its loaders the plainest is used: it makes text of every value, so that a class called "no" does not
become the value false, and it knows no tags that make objects.
"""

from typing import Any

import yaml

from alctl.errors import AlctlError

LARGEST = 1 << 20
"""Bytes; the twenty thousand names of ImageNet take half of it."""
DEEPEST = 20


class _Loader(yaml.BaseLoader):
    """Text, lists and mappings, of a limited depth, no key twice, and no aliases: a few of them unfold to gigabytes."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a part of the document, unless it is what only an attacker needs."""
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias (*name), which no list of classes needs")
        if self.depth >= DEEPEST:
            raise ValueError("it is nested too deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(  # its signature is PyYAML's
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002
    ) -> dict[Any, Any]:
        """Build a mapping; PyYAML itself lets the last of several equal keys win."""
        found = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            raise ValueError("it has a key twice")
        return found


def yaml_mapping(text: str, name: str) -> dict[str, Any]:
    """Return what a small YAML file holds, every value as text; AlctlError if it is not a mapping."""
    if len(text) > LARGEST:
        raise AlctlError(f"{name} is larger than {LARGEST >> 20} MiB; that is no list of classes")
    try:
        found = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise AlctlError(f"{name}{line}: it is not YAML that can be read: {error.problem}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise AlctlError(f"{name} is not YAML that can be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise AlctlError(f"{name} holds no names of classes")
    return found
