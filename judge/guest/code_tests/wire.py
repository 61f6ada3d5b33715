"""Frames between the tests' process and the candidate's, and the values in them: JSON, in which only data can travel.

Values of the standard library are copied (`values`). Containers that can be changed in place are *shared*: both processes
have one, and the sender states first what it changed in them, so that an alias on either side sees it. As only one of the
two is at work at a time, that is all it takes. Everything else stays where it is and travels as a number, for which the
other side makes a stand-in (`mirror`).
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, Protocol

from alpharay.judge.guest.code_tests import values

FRAME_BYTES = 64 << 20
# Shared containers are compared before each message. More elements than that in all are not kept alike any longer than
# the call that they were given to.
LASTING = 20_000
DEEP = 1_000_000  # frames: encoding recurs in Python alone, which takes none of the C stack


class Gone(BaseException):
    """The other side has ended. Not an Exception: no `except Exception` of a test may swallow it."""


class Mirrors(Protocol):
    """What stands for objects of the other side, and the numbers of ours."""

    def define(self, kind: type, message: "Message") -> int:
        """The number of a class of ours, described in the message when the other side does not know it yet."""

    def decode(self, tag: str, fields: list[Any], decode: Any) -> Any: ...

    def encode(self, value: Any, message: "Message") -> Any:
        """A value that is of none of the library's types."""

    def shell(self, base: type, reference: list[Any]) -> Any:
        """An empty container of a class of the other side's."""

    def reference_to(self, value: Any, message: "Message") -> list[Any]:
        """By what `shell` makes it there."""


class Cell:
    """A shared container. last: what was in it when both sides were alike."""

    __slots__ = ("last", "number", "tag", "value")

    def __init__(self, number: int, value: Any, tag: str, last: list[Any] | None) -> None:
        self.number = number
        self.value = value
        self.tag = tag
        self.last = last


class Message:
    """One message while it is made. nodes: containers, each after the immutable ones in it."""

    def __init__(self, codec: "Codec", mirrors: Mirrors) -> None:
        self._codec = codec
        self._mirrors = mirrors
        self.nodes: list[Any] = []
        self.definitions: list[Any] = []
        self._encoded: dict[int, Any] = {}
        self._alive: list[Any] = []  # so that no id by which it is known here is reused

    def encode(self, value: Any) -> Any:
        """JSON without depth. By what a value is, not by what its class says it prints as."""
        kind = type(value)
        if value is None or kind is bool or kind is float or kind is str:
            return value
        if kind is int and -values.LONG < value < values.LONG:
            return value
        encoded = self._encoded.get(id(value))
        if encoded is not None:
            return encoded
        if kind in values.MUTABLE:
            return [self._codec.share(value, values.MUTABLE[kind])]
        if kind is tuple or kind is frozenset:
            encode = self.encode
            items = [encode(item) for item in (tuple if kind is tuple else frozenset).__iter__(value)]
            return self.node(value, "t" if kind is tuple else "f", items)
        if kind in values.SCALARS:
            tag, fields = values.SCALARS[kind]
            return [tag, *fields(value, self.encode)]
        lazy = values.LAZY.get((kind.__module__, kind.__qualname__))
        if lazy is not None:
            return [lazy[0], *lazy[1](value, self.encode)]
        view = values.view(value)
        if view is not None:
            return self.node(value, "vw", [view[0], *(self.encode(item) for item in view[1])])
        return self._mirrors.encode(value, self)

    def node(self, value: Any, tag: str, items: list[Any]) -> Any:
        """A value that is not changed any more and may hold others."""
        number = -1 - len(self.nodes)
        self.nodes.append([number, tag, *items])
        self._encoded[id(value)] = [number]
        self._alive.append(value)
        return [number]

    def cell(self, cell: Cell) -> None:
        """What is in a shared container now."""
        items = values.content(cell.value, cell.tag)
        node: list[Any] = [cell.number, cell.tag]
        if cell.last is None:
            plain = type(cell.value) is values.BASE[cell.tag]
            made = self.encode(values.made_with(cell.value, cell.tag))
            node.append([made] if plain else [made, *self._mirrors.reference_to(cell.value, self)])
        else:
            node.append(None)
        cell.last = items
        node += items if cell.tag == "y" else [self.encode(item) for item in items]
        # After the immutable ones in it: the container itself is found by its number.
        self.nodes.append(node)


class Codec:
    """The shared containers of one end. first: its own numbers go up by two from there, so that they are no one else's."""

    def __init__(self, mirrors: Mirrors, first: int) -> None:
        self._mirrors = mirrors
        self._next = first
        self._cells: dict[int, Cell] = {}
        self._cells_by_id: dict[int, Cell] = {}
        self._fresh: list[Cell] = []
        # Reading may ask the other side in turn, for a hash: then what is half read is no change of ours.
        self._reading = 0
        self._forgotten: list[int] = []

    def share(self, value: Any, tag: str) -> int:
        cell = self._cells_by_id.get(id(value))
        if cell is None:
            cell = Cell(self._next, value, tag, None)
            self._next += 2
            self._add(cell)
            self._fresh.append(cell)
        return cell.number

    def _add(self, cell: Cell) -> None:
        self._cells[cell.number] = cell
        self._cells_by_id[id(cell.value)] = cell

    def _drop(self, number: int) -> None:
        cell = self._cells.pop(number, None)
        if cell is not None:
            del self._cells_by_id[id(cell.value)]

    def let_go(self) -> list[int]:
        """Shares no longer what was shared, when it is too much to be compared at every message. Returns their numbers."""
        if sum(len(cell.last or ()) for cell in self._cells.values()) <= LASTING:
            return []
        dropped = list(self._cells)
        self._cells.clear()
        self._cells_by_id.clear()
        return dropped

    def sweep(self) -> list[int]:
        """Numbers of containers that nobody on this side has any more, to be called when their last changes were sent."""
        dropped: list[int] = []
        while not self._reading:
            # The table's own, and the argument's.
            alone = [n for n, cell in self._cells.items() if sys.getrefcount(cell.value) <= 2]
            if not alone:
                break
            for number in alone:
                self._drop(number)
            dropped += alone
        return dropped

    def forget(self, numbers: list[int]) -> None:
        """The other side has them no more."""
        self._forgotten += numbers
        if not self._reading:
            for number in self._forgotten:
                self._drop(number)
            self._forgotten.clear()

    def message(self) -> Message:
        return Message(self, self._mirrors)

    def finish(self, message: Message) -> None:
        """Adds every container that is new to the other side, and every one that was changed here."""
        for cell in [] if self._reading else list(self._cells.values()):
            if cell.last is not None and not _same(cell.last, values.content(cell.value, cell.tag), cell.tag):
                message.cell(cell)
        while self._fresh:
            fresh, self._fresh = self._fresh, []
            for cell in fresh:
                if cell.last is None:
                    message.cell(cell)

    @contextlib.contextmanager
    def reading(self, nodes: list[Any]) -> Iterator["Reader"]:
        """What reads the rest of a message that begins with these containers."""
        self._reading += 1
        try:
            yield self._read(nodes)
        finally:
            self._reading -= 1

    def _read(self, nodes: list[Any]) -> "Reader":
        reader = Reader(self._mirrors, self._cells)
        for node in nodes:
            number = node[0]
            if number > 0 and number not in self._cells:
                self._add(Cell(number, reader.shell(node[1], node[2]), node[1], []))
        for number, tag, *items in nodes:
            if number < 0:
                reader.known[number] = reader.immutable(tag, items)
        for number, tag, *rest in nodes:
            if number > 0:
                cell, items = self._cells[number], rest[1:]
                if tag != cell.tag:
                    raise ValueError("not the container that it was")
                decoded = items if tag == "y" else [reader.decode(item) for item in items]
                values.fill(cell.value, tag, decoded)
                cell.last = values.content(cell.value, tag)
        return reader


def _same(last: list[Any], now: list[Any], tag: str) -> bool:
    if tag == "y":
        return last == now
    return len(last) == len(now) and all(a is b for a, b in zip(last, now, strict=True))


class Reader:
    """Makes the values of one message. Raises ValueError or its like for anything that `Message` would not have made."""

    def __init__(self, mirrors: Mirrors, cells: dict[int, Cell]) -> None:
        self._mirrors = mirrors
        self._cells = cells
        self.known: dict[int, Any] = {}

    def decode(self, data: Any) -> Any:
        if data is None or isinstance(data, bool | int | float | str):
            return data
        if not isinstance(data, list):
            raise TypeError("not a value")
        tag, *fields = data
        if type(tag) is int:
            return self._cells[tag].value if tag > 0 else self.known[tag]
        if tag in values.READ:
            return values.READ[tag](*(self.decode(field) for field in fields))
        return self._mirrors.decode(tag, fields, self.decode)

    def immutable(self, tag: str, items: list[Any]) -> Any:
        if tag in ("t", "f"):
            return (tuple if tag == "t" else frozenset)([self.decode(item) for item in items])
        if tag == "vw":
            return values.viewed(items[0], [self.decode(item) for item in items[1:]])
        return self._mirrors.decode(tag, items, self.decode)

    def shell(self, tag: str, made: list[Any]) -> Any:
        first, *reference = made
        first = self.decode(first)
        base = values.BASE[tag]
        if reference:
            container = self._mirrors.shell(base, reference)
            if tag == "dd":
                base.default_factory.__set__(container, first)
            return container
        if tag == "k":
            return base(maxlen=first)
        return base(first) if tag == "dd" else base()


def send(descriptor: int, message: Any) -> None:
    """One frame: its length in eight hexadecimal digits, then JSON."""
    text = json.dumps(message, check_circular=False).encode("ascii")
    if len(text) > FRAME_BYTES:
        raise ValueError(f"a value of {len(text)} bytes is too large to be passed on")
    data = memoryview(b"%08x" % len(text) + text)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        raise Gone from None


def receive(descriptor: int) -> bytes:
    """The JSON of a frame. Raises Gone at the end, and ValueError for what is no frame."""
    length = int(_exactly(descriptor, 8), 16)
    if length > FRAME_BYTES:
        raise ValueError("a frame is too long")
    return _exactly(descriptor, length)


def _exactly(descriptor: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(descriptor, min(length, 1 << 20))
        if not part:
            raise Gone
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
