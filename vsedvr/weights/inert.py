"""Reads a pickle without executing it.

A pickle is a small program. Most of its instructions build numbers, strings, lists and dicts. The others name a class or a
function and call it, and that is how a hostile file runs code. The reader in this module never calls, imports or looks up
anything: for such an instruction it only records the name. So nothing in the file can run, and classes that are not installed
are no obstacle.
"""

import pickletools
from dataclasses import dataclass, field
from typing import IO, Any, BinaryIO, cast

__all__ = ["Global", "Object", "Persistent", "Pickle", "as_bytes", "read_pickle"]

MAX_STEPS = 2_000_000
"""Most instructions allowed in one pickle. A long training's state has about 100,000; each takes up to 300 bytes."""
MAX_LINE = 1 << 16
"""Most bytes allowed in one line of text inside a pickle."""
MAX_NAME = 1000
"""Most characters allowed in the name of a class or function."""


@dataclass(eq=False, slots=True)
class Global:
    """Record of a class or function that a pickle names, such as "torch._utils._rebuild_tensor_v2"."""

    name: str


@dataclass(eq=False, slots=True)
class Persistent:
    """Record of a reference to data outside of the pickle, such as the storage of a tensor."""

    id: Any


@dataclass(eq=False, slots=True)
class Object:
    """Record of an object that a call would have made: the name of what is called, its arguments, and later changes."""

    made_by: str
    args: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    """Entries that were put into the object: those of a dict by their keys, those of a list by placeholder keys, in order."""


@dataclass(eq=False, slots=True)
class Pickle:
    """Content of one pickle, with everything that it names or refers to."""

    value: Any
    names: set[str]
    """Full names of all classes and functions that the pickle names."""
    persistent: list[Persistent]


def read_pickle(file: BinaryIO, size: int) -> Pickle:
    """Reads the next pickle of an open file, up to the end of the pickle.

    Dicts keep only keys that are strings; other keys are replaced by placeholder objects.

    Args:
        file: a file that is open for reading.
        size: number of bytes in the whole file; no single read asks for more, whatever length the pickle claims.

    Raises:
        ValueError: if the data is no pickle, is damaged, or has more than MAX_STEPS instructions.
    """
    machine, bounded = _Machine(), cast(IO[bytes], _Bounded(file, size))
    try:
        for steps, (opcode, argument, _) in enumerate(pickletools.genops(bounded)):
            if steps >= MAX_STEPS:
                raise ValueError(f"its pickle has more than {MAX_STEPS} instructions")
            machine.step(opcode.name, argument)
        return Pickle(machine.stack.pop(), machine.names, machine.persistent)
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError, AssertionError) as error:
        raise ValueError(f"its pickle is malformed ({type(error).__name__})") from error


def as_bytes(value: Any) -> bytes:
    """Returns the bytes that a value of a pickle stands for: protocol 2 writes bytes as a call that encodes a string.

    Raises:
        TypeError: if the value is neither bytes nor such a call.
    """
    if isinstance(value, Object) and value.made_by == "_codecs.encode":
        return cast(str, value.args[0]).encode("latin-1")
    return bytes(memoryview(value))


class _Bounded:
    """A file whose reads never ask for more bytes than the file has: a false length of 2^60 would be allocated first."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def read(self, count: int) -> bytes:
        return self.file.read(min(count, self.size))

    def readline(self) -> bytes:
        return self.file.readline(min(self.size, MAX_LINE))


class _Machine:
    """Executes the harmless instructions of a pickle on a stack and a memo, and records all others."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.names: set[str] = set()
        self.persistent: list[Persistent] = []

    def step(self, name: str, argument: Any) -> None:
        """Executes one instruction, given by its name in pickletools; instructions that name or call go to _inert."""
        stack = self.stack
        match name:
            case "PROTO" | "FRAME" | "READONLY_BUFFER" | "STOP":
                pass
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                self.marks.append(len(stack))
            case "LIST" | "FROZENSET":
                stack.append(self._since_mark())
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._take(int(name[-1]))))
            case "DICT":
                stack.append(_put({}, self._since_mark()))
            case "APPEND":
                _extend(stack[-2], self._take(1))
            case "APPENDS" | "ADDITEMS":
                values = self._since_mark()
                _extend(stack[-1], values)
            case "SETITEM":
                _put(stack[-3], self._take(2))
            case "SETITEMS":
                values = self._since_mark()
                _put(stack[-1], values)
            case "POP":
                (self.marks if self.marks[-1:] == [len(stack)] else stack).pop()
            case "POP_MARK":
                self._since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case _:
                self._inert(name, argument)

    def _inert(self, name: str, argument: Any) -> None:
        """Records an instruction that would import or call something; pushes the number or string of any other one."""
        stack = self.stack
        match name:
            case "GLOBAL":
                stack.append(self._global(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(self._global(*self._take(2)))
            case "EXT1" | "EXT2" | "EXT4":
                stack.append(self._global("copyreg", f"extension_{argument}"))
            case "REDUCE" | "NEWOBJ":
                maker, arguments = self._take(2)
                stack.append(_object(maker, arguments))
            case "NEWOBJ_EX":
                maker, arguments, keywords = self._take(3)
                stack.append(_object(maker, (arguments, keywords)))
            case "OBJ":
                maker, *rest = self._since_mark()
                stack.append(_object(maker, tuple(rest)))
            case "INST":
                stack.append(_object(self._global(*argument.split(" ", 1)), tuple(self._since_mark())))
            case "BUILD":
                (state,) = self._take(1)
                if not isinstance(stack[-1], Object):
                    raise ValueError("its pickle changes something that it did not make")
                stack[-1].state = state
            case "PERSID" | "BINPERSID":
                self.persistent.append(Persistent(argument if name == "PERSID" else stack.pop()))
                stack.append(self.persistent[-1])
            case "NEXT_BUFFER":
                raise ValueError("its pickle needs buffers that are kept elsewhere")
            case _:
                stack.append(argument)

    def _take(self, count: int) -> list[Any]:
        """Removes the last values from the stack and returns them.

        Raises:
            ValueError: if the stack has fewer values.
        """
        if len(self.stack) < count:
            raise ValueError("its pickle takes more from its stack than there is")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def _global(self, module: str, name: str) -> Global:
        if not (isinstance(module, str) and isinstance(name, str) and len(module) + len(name) <= MAX_NAME):
            raise ValueError("its pickle names a class by something that is no name")
        full = f"{module}.{name}"
        self.names.add(full)
        return Global(full)


def _object(maker: Any, arguments: Any) -> Object:
    made_by = maker.name if isinstance(maker, Global) else "?"
    return Object(made_by, arguments if isinstance(arguments, tuple) else (arguments,))


def _extend(target: Any, values: list[Any]) -> None:
    if isinstance(target, Object):
        target.items.update((object(), value) for value in values)
    else:
        target.extend(values)


def _put(target: Any, values: list[Any]) -> Any:
    """Puts alternating keys and values into a dict or record, and returns it.

    Keys that are not strings are replaced by placeholders: they could take for ever to hash, and they name no weight.
    """
    items = target.items if isinstance(target, Object) else target
    for key, value in zip(values[::2], values[1::2], strict=True):
        items[key if isinstance(key, str) else object()] = value
    return target
