"""Reading YAML strictly: no key twice, and numbers and words as YAML 1.2 has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ase_hal.runfile.errors import RunFileError


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, made to see that a key is repeated."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML reads, takes 1e3 for a text, and the element No for False.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


# Keys that tell for which command a file is.
_COMMANDS = {"elements": "ase-hal run", "monte_carlo": "ase-hal free-energy run"}


def read_document(path: Path, *, such_as: str, foreign: str = "") -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Parameters
    ----------
    path : path
    such_as : str
        A key that it has, for the message where there is none.
    foreign : str
        A key that only files for the other command have.

    Raises
    ------
    RunFileError
        If there is no such file, or it is not YAML, not a mapping, or one for another command.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunFileError([f"there is no file {path}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunFileError([f"cannot read {path}: {error}"]) from None
    try:
        data = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RunFileError([f"{path}{place}: {error.problem or error.context}"]) from None
    except yaml.YAMLError as error:
        raise RunFileError([f"{path} is not YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(data, dict):
        raise RunFileError([f"{path} has to hold keys such as '{such_as}:', got {data!r:.60}"])
    if foreign and foreign in data and such_as not in data:
        command = _COMMANDS[foreign]
        raise RunFileError([f"{path} is a file for '{command}': it has the key '{foreign}:'"])
    return data
