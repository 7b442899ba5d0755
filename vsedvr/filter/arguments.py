"""Arguments as users write them: numbers of NumPy, strings from `vspipe -a`, paths from the home folder, names by habit."""

import difflib
import operator
import re
import reprlib
from collections.abc import Collection, Mapping

from vsedvr.filter.tags import MATRICES
from vsedvr.model import EDVR
from vsedvr.weights import load_model

__all__ = ["refuse_unknown", "to_flag", "to_matrix", "to_network", "to_number", "to_tile", "to_word"]

FLAGS = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True}


def refuse_unknown(arguments: Mapping[str, object], known: Collection[str]) -> None:
    """
    Raises:
        ValueError: if there are any arguments; it names the first, and the known one that looks like it.
    """
    for name in arguments:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"there is no argument {name}; {hint}")


def to_number(value: object, name: str) -> int:
    """An integer of any kind, also in a string.

    Raises:
        ValueError: for all else.
    """
    try:
        if isinstance(value, str):
            return int(value)
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{name} must be a whole number, got {reprlib.repr(value)}")


def to_flag(value: object, name: str) -> bool:
    """True or False; also 1 and 0, and both in words.

    Raises:
        ValueError: for all else.
    """
    word = str(value).lower()  # of NumPy's as well
    if word not in FLAGS:
        raise ValueError(f"{name} must be True or False, got {reprlib.repr(value)}")
    return FLAGS[word]


def to_word(value: object, name: str, words: Collection[str]) -> str:
    """One of some words.

    Raises:
        ValueError: for all else.
    """
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}, got {reprlib.repr(value)}")
    return value


def to_tile(value: object, name: str) -> tuple[int, int]:
    """Width and height, from a pair or from a string such as "256,256" or "(0, 0)".

    Raises:
        ValueError: for all else.
    """
    pair = value
    if isinstance(value, str):
        match = re.fullmatch(r"\D*(\d+)\s*[,x]\s*(\d+)\D*", value)
        pair = match.groups() if match else None
    if isinstance(pair, tuple | list) and len(pair) == 2:
        try:
            return to_number(pair[0], name), to_number(pair[1], name)
        except ValueError:
            pass
    raise ValueError(
        f"{name} must be (width, height) in pixels of the clip, (0, 0) for no tiles, or None, got {reprlib.repr(value)}"
    )


def to_matrix(value: object, name: str) -> int:
    """The number of a matrix, from its number or the resizer's name for it.

    Raises:
        ValueError: for all that the filter cannot convert with.
    """
    if isinstance(value, str) and value.lower() in MATRICES:
        return MATRICES[value.lower()]
    try:
        number = to_number(value, name)
    except ValueError:
        number = -1
    if number not in MATRICES.values():
        names = ", ".join(f'"{name}" ({number})' for name, number in MATRICES.items())
        raise ValueError(f"{name} must be one of {names}, by name or number, got {reprlib.repr(value)}")
    return number


def to_network(value: object, auto_download: bool) -> EDVR:
    """A network, from itself, the name of a model or the path of a checkpoint.

    Raises:
        ValueError, OSError: if there is none.
    """
    return value if isinstance(value, EDVR) else load_model(value, auto_download=auto_download)  # type: ignore[arg-type]
