"""Rows of a user's file, whatever form it has: JSON lines, a JSON list, CSV, TSV, Parquet, or plain lines of text.

Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark, plain or compressed by gzip or zstd. What a file holds
decides, not what it is called, except between the forms of text: ``kind``. Whatever cannot be read exactly is a
``ValueError`` of one sentence that names the file and the line.
"""

import codecs
import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import polars as pl
import zstandard

VERSION = "1"

Placed = Iterator[tuple[str, Any]]  # "line 3 of <file>", and the row there
T = TypeVar("T")

JSON_LINES, JSON, TABLES, PARQUET = (".jsonl", ".ndjson"), ".json", {".csv": ",", ".tsv": "\t"}, ".parquet"
KINDS = (*JSON_LINES, JSON, *TABLES, PARQUET)
COMPRESSED = (".gz", ".gzip", ".zst", ".zstd")
CHUNK = 2**20  # bytes read at a time
BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def kind(path: Path) -> str:
    """A file's ending in lower case, without that of a compression: ``.jsonl`` of ``a.JSONL.gz``."""
    return Path(_uncompressed(path)).suffix.lower()


def stem(path: Path) -> str:
    """A file's name without its ending and that of a compression: ``a`` of ``a.jsonl.gz``."""
    return Path(_uncompressed(path)).stem


def _uncompressed(path: Path) -> str:
    return path.stem if path.suffix.lower() in COMPRESSED else path.name


def records(path: Path, columns: tuple[str, ...] = ()) -> Placed:
    """Place and content of each row of a file of one of ``KINDS``.

    The first row of a CSV or TSV file names its columns, unless ``columns`` does. A TSV file has no quotation marks
    but those of its text.
    """
    form = kind(path)
    if form == PARQUET:
        return _parquet(path)
    numbered = _lines(_chunks(path), str(path))
    if form in TABLES:
        return _table(numbered, str(path), TABLES[form], columns)
    return _json_lines(numbered, str(path)) if form in JSON_LINES else _json(numbered, str(path))


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Place and text of each line of a text file that is not blank, without its end."""
    return ((f"line {number} of {path}", line) for number, line in _lines(_chunks(path), str(path)) if line.strip())


def of_json(content: bytes, name: str) -> list[tuple[str, Any]]:
    """Place and content of each row of a JSON list that has been read; ``name`` is that of its file."""
    return list(_json(_lines(iter([content]), name), name))


def text(row: dict[str, Any], name: str, place: str) -> str:
    """A field that must hold a text, or a whole number that stands for one; a ``ValueError`` says where it does not."""
    value = row[name]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"{place} gives {_shown(value)} as {name}; give a text there")
    if not value.strip():
        raise ValueError(f"{place} gives an empty {name}; give a text there, or remove the row")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{place} gives half a surrogate pair in its {name}, which is no character") from None
    return value


def has(row: object) -> str:
    """What a row that lacks something has instead, for a sentence about it."""
    return (", ".join(map(str, row)) or "nothing") if isinstance(row, dict) else f"a {type(row).__name__}"


def built(build: Callable[[list[Any]], T], placed: list[tuple[str, Any]]) -> T:
    """What ``build`` makes of rows. Where it raises, a ``ValueError`` names the first row that it cannot take."""
    rows = [row for _, row in placed]
    try:
        return build(rows)
    except Exception:  # whatever a builder raises on a row of another form
        low, high = 0, len(rows)  # it takes the first ``low`` rows, and not the first ``high``
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if _error(build, rows[:middle]) else (middle, high)
        error = _error(build, rows[:high]) or ValueError("is not of the form that is expected")
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        place = placed[high - 1][0] if placed else "the file"
        raise ValueError(f"{place} is no row of this set ({reason}); correct or remove it") from error


def _error(build: Callable[[list[Any]], Any], rows: list[Any]) -> Exception | None:
    try:
        build(rows)
    except Exception as error:  # as above
        return error
    return None


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:60]


def _chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, decompressed where it is compressed."""
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        try:
            if start[:2] == b"\x1f\x8b":
                with gzip.open(file) as inside:
                    yield from iter(lambda: inside.read(CHUNK), b"")
            elif start == b"\x28\xb5\x2f\xfd":
                yield from _zstd(file)
            else:
                yield from iter(lambda: file.read(CHUNK), b"")
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            raise ValueError(f"{path} is compressed, and cut off or damaged ({error}); restore it") from error


def _zstd(file: io.BufferedReader) -> Iterator[bytes]:
    """Frames one after the other. zstandard's own reader takes the end of a file that was cut off for its end."""
    frame, whole = zstandard.ZstdDecompressor().decompressobj(), True
    while data := file.read(CHUNK):
        while data:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(data)
            data, whole = frame.unused_data, frame.eof
    if not whole:
        raise EOFError("the last frame has no end")


def _lines(chunks: Iterator[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1: ended by \\n, \\r\\n or \\r, not by the other separators of Unicode."""
    number, parts = 1, list[str]()
    for piece in _decoded(chunks, name):
        first, *others = piece.split("\n")
        parts.append(first)
        for other in others:
            yield number, _plain("".join(parts), number, name)
            number, parts = number + 1, [other]
    if last := "".join(parts):
        yield number, _plain(last, number, name)


def _plain(line: str, number: int, name: str) -> str:
    if "\0" in line:
        raise ValueError(
            f"{name} is no text: its line {number} has zero bytes; give text in UTF-8, or in UTF-16 with a byte order "
            "mark"
        )
    return line


def _decoded(chunks: Iterator[bytes], name: str) -> Iterator[str]:
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(codecs.BOM_UTF32_LE):
            break
    mark, encoding = next(((mark, code) for mark, code in BOMS if head.startswith(mark)), (b"", "utf-8"))
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    number = 1
    for chunk in _and_the_end(head[len(mark) :], chunks):
        try:
            piece = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
            raise ValueError(
                f"line {number + before.count(chr(10))} of {name} is not valid {encoding[:6].rstrip('-').upper()} "
                f"({error.reason}, byte 0x{error.object[error.start]:02x}); save the file as UTF-8"
            ) from error
        number += piece.count("\n")
        yield piece


def _and_the_end(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Chunks that are not empty, then an empty one."""
    yield from filter(None, [head])
    yield from filter(None, chunks)
    yield b""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice in one row")
    return row


DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _json_lines(numbered: Iterable[tuple[int, str]], name: str) -> Placed:
    numbered, first = iter(numbered), True
    for number, line in numbered:
        if line.strip():
            if first and line.lstrip().startswith("["):  # a list that is called .jsonl
                yield from _json([(number, line), *numbered], name)
                return
            first = False
            try:
                yield f"line {number} of {name}", DECODER.decode(line)
            except (ValueError, RecursionError) as error:
                raise _invalid(error, number, name) from error


def _json(numbered: Iterable[tuple[int, str]], name: str) -> Placed:
    """Elements of a list, or values that follow each other."""
    kept = list(numbered)
    content = "\n" * (kept[0][0] - 1 if kept else 0) + "\n".join(line for _, line in kept)
    position = _skip(content, 0)
    listed = content[position : position + 1] == "["
    position = _skip(content, position + 1) if listed else position
    counted, number = 0, 1  # characters whose line ends are counted already, and the line there
    while position < len(content) and not (listed and content[position] == "]"):
        number += content.count("\n", counted, position)
        counted = position
        try:
            row, position = DECODER.raw_decode(content, position)
            position = _skip(content, position)
            if listed and content[position : position + 1] == ",":
                position = _skip(content, position + 1)
                if content[position : position + 1] == "]":
                    raise json.JSONDecodeError("Comma at the end of a list", content, position)
            elif listed and content[position : position + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' or ']'", content, position)
        except (ValueError, RecursionError) as error:
            raise _invalid(error, getattr(error, "lineno", number), name) from error
        yield f"line {number} of {name}", row
    if listed and (position >= len(content) or content[position + 1 :].strip()):
        what = "is cut off: its list has no end" if position >= len(content) else "goes on behind the end of its list"
        raise ValueError(f"{name} {what}; restore it")


def _skip(content: str, position: int) -> int:
    while position < len(content) and content[position] in " \t\n\r":
        position += 1
    return position


def _invalid(error: Exception, number: int, name: str) -> ValueError:
    reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
    return ValueError(f"line {number} of {name} is no valid JSON ({reason}); correct it")


def _table(numbered: Iterable[tuple[int, str]], name: str, delimiter: str, columns: tuple[str, ...]) -> Placed:
    csv.field_size_limit(sys.maxsize)  # a field may hold a whole book
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    content = (f"{line}\n" for _, line in numbered)
    reader = csv.reader(content, delimiter=delimiter, quoting=quoting, strict=True)
    number = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"line {number} of {name} is no valid row ({error}); correct it") from error
        place, number = f"line {number} of {name}", reader.line_num + 1
        if any(field.strip() for field in fields):
            if not columns:
                columns = tuple(field.strip() for field in fields)
                continue
            if len(fields) != len(columns):
                raise ValueError(
                    f"{place} has {len(fields)} field(s), not {len(columns)} ({', '.join(columns)}); correct it"
                )
            if tuple(fields) != columns:  # not a line of names where none is needed
                yield place, dict(zip(columns, fields, strict=True))


def _parquet(path: Path) -> Placed:
    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is no readable Parquet file ({reason}); restore it") from error
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        yield f"row {number} of {path}", row
