"""Converts arguments as users write them: NumPy numbers, strings from `vspipe -a`, names of matrices and models."""

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
    """Raises an error if there are unknown arguments; it suggests the known argument that looks most like the first of them.

    Raises:
        ValueError: if `arguments` is not empty.
    """
    for name in arguments:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"there is no argument {name}; {hint}")


def to_number(value: object, name: str) -> int:
    """Converts any kind of integer (also NumPy's, and "3") to an int.

    Raises:
        ValueError: if the value is not an integer; the message has the argument's name.
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
    """Converts True or False, 1 or 0, and "true", "false", "yes", "no", "1" or "0" in any case to a bool.

    Raises:
        ValueError: if the value is anything else; the message has the argument's name.
    """
    word = str(value).lower()  # works for NumPy's bool as well
    if word not in FLAGS:
        raise ValueError(f"{name} must be True or False, got {reprlib.repr(value)}")
    return FLAGS[word]


def to_word(value: object, name: str, words: Collection[str]) -> str:
    """Returns the value if it is one of the allowed words.

    Raises:
        ValueError: if it is not; the message has the argument's name and lists the words.
    """
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}, got {reprlib.repr(value)}")
    return value


def to_tile(value: object, name: str) -> tuple[int, int]:
    """Converts a pair of integers, or a string such as "256,256" or "(0, 0)", to (width, height).

    Raises:
        ValueError: if the value is anything else; the message has the argument's name.
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
    """Returns the number of a matrix in ITU-T H.273, from this number or from the resizer's name for the matrix.

    Raises:
        ValueError: if the filter cannot convert with this matrix; the message lists those that it can convert with.
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
    """Returns the network for the argument `model`: an EDVR itself, or one loaded by model name or checkpoint path.

    Raises:
        ValueError: if the file is not an EDVR checkpoint.
        OSError: if the name is unknown, or the file cannot be read or downloaded.
    """
    return value if isinstance(value, EDVR) else load_model(value, auto_download=auto_download)  # type: ignore[arg-type]
