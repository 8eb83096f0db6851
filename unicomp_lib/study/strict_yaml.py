"""YAML files as people mean them: what YAML would read as something else is refused in one sentence."""

from pathlib import Path
from typing import Any

import yaml

from unicomp_lib.study.hints import one_line


class StrictLoader(yaml.SafeLoader):
    """YAML without its two traps: a key that is given twice, and 2:4 without quotes, which is read as 124."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a mapping that gives a key twice: the last one would win unseen."""
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                name = self.construct_object(key, deep=True)
                if isinstance(name, list | dict):
                    raise ValueError(f"line {key.start_mark.line + 1} has {name!r} as a name; give a text")
                if name in seen:
                    raise ValueError(f"line {key.start_mark.line + 1} gives {name!r} a second time; remove one")
                seen.add(name)
        return super().construct_mapping(node, deep)


def _sexagesimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    kind = node.tag.rpartition(":")[2]
    read: Any = getattr(loader, f"construct_yaml_{kind}")(node)
    if ":" in node.value:
        raise ValueError(
            f"line {node.start_mark.line + 1} gives {node.value} without quotes, which YAML reads as the number "
            f'{read}; quote it: "{node.value}"'
        )
    return read


for _kind in ("int", "float"):
    StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _sexagesimal)


def read(path: Path) -> Any:
    """Content of a YAML file. Raises a ``ValueError`` in one sentence, with the file's name, where it is not clean."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not in UTF-8 ({one_line(error)}); save it in this encoding") from error
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); give another file, or the right to read it"
        ) from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is no valid YAML: {one_line(error)}") from error
    except TypeError as error:  # a key that is a set
        raise ValueError(f"{path.name} has a key that is no text; change it") from error
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply; simplify it") from error
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
