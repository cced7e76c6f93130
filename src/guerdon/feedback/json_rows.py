"""A JSON file as a stream of rows: a top-level list of objects, or objects behind each other, in bounded memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from guerdon.core.errors import DataError

LONGEST = 1 << 26  # bytes of one line or row: more means that the file is not made of rows
CHUNK = 1 << 16  # bytes read at a time, at first
_NEAR = 16  # characters at the end of what was read where an error may only mean that the rest is missing
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def rows_of_json(file: BinaryIO, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line where the row begins, row) of every object of the file.

    Raises:
        DataError: one line that names the file and the line.
    """
    text = _Text(file, path)
    listed = text.skip() == "["
    if listed:
        text.at += 1
    first = True
    while (following := text.skip()) != "":
        if listed and following == "]":
            text.at += 1
            if text.skip() != "":
                raise DataError(f"{path}:{text.line}: expected nothing behind the list")
            return
        if listed and not first:
            if following != ",":
                raise DataError(f"{path}:{text.line}: not valid JSON: expected ',' or ']' behind a row, got {following!r}")
            text.at += 1
            text.skip()
        first = False
        line = text.line
        row = text.value()
        if not isinstance(row, dict):
            raise DataError(f"{path}:{line}: expected an object per row, such as {{'prompt': ...}}, got {type(row).__name__}")
        yield line, row
    if listed:
        raise DataError(f"{path}:{text.line}: not valid JSON: the list has no end")


class _Text:
    """The part of a file that is being read."""

    def __init__(self, file: BinaryIO, path: Path):
        self.file, self.path = file, path
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.at, self.line, self.ended = "", 0, 1, False

    def more(self) -> None:
        """Forget what was used, and read on: twice as much each time that a row needs it."""
        chunk = self.file.read(max(CHUNK, len(self.text) - self.at))
        self.ended = not chunk
        try:
            self.text = self.text[self.at :] + self.decoder.decode(chunk, final=self.ended)
        except UnicodeDecodeError:
            raise DataError(f"{self.path}:{self.line}: not UTF-8 text, in this row or soon behind it") from None
        self.at = 0

    def skip(self) -> str:
        """The next character that is not white space; "" at the end of the file."""
        while True:
            behind = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            self.line += self.text.count("\n", self.at, behind)
            self.at = behind
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.more()

    def value(self) -> Any:
        """The value that begins here."""
        while True:
            try:
                found, behind = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as e:
                cut_off = e.pos >= len(self.text) - _NEAR or e.msg.startswith("Unterminated string")
                if cut_off and not self.ended:
                    if len(self.text) - self.at >= LONGEST:
                        raise DataError(f"{self.path}:{self.line}: a row longer than {LONGEST >> 20} MiB") from None
                    self.more()
                    continue
                line = self.line + self.text.count("\n", self.at, e.pos)
                raise DataError(f"{self.path}:{line}: not valid JSON: {e.msg}") from None
            except RecursionError:
                raise DataError(f"{self.path}:{self.line}: not valid JSON: nested too deeply") from None
            except ValueError as e:  # a number of too many digits
                raise DataError(f"{self.path}:{self.line}: not valid JSON: {e}") from None
            self.line += self.text.count("\n", self.at, behind)
            self.at = behind
            return found
