"""Reading rows from arrays and lines, refusing what is no JSON, and writing without ever leaving half a file."""

from __future__ import annotations

import errno
import gzip
import json
import math
import os
import stat
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop import jsonl
from arenaloop.errors import InputError, StorageError
from arenaloop.jsonl import encode_json, read_rows, replacing, user_rows, write_json, write_jsonl

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(TEXT, VALUES, max_size=4), max_size=12)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "rows.jsonl"


def error_of(path) -> str:
    with pytest.raises(InputError) as caught:
        list(read_rows(path))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


@settings(deadline=None, max_examples=20)
@given(rows=ROWS, block=st.integers(8, 60), indent=st.sampled_from([None, 0, 3]), packed=st.booleans())
def test_arrays_and_lines_hold_the_same_rows_at_any_block_size(tmp_path_factory, rows, block, indent, packed):
    folder = tmp_path_factory.mktemp("rows")
    array, lines = folder / "array", folder / "lines"
    pack = gzip.compress if packed else bytes
    array.write_bytes(pack(json.dumps(rows, indent=indent, ensure_ascii=False).encode()))
    lines.write_bytes(pack(b"".join(encode_json(row) + b"\n" for row in rows)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "_BLOCK", block)
        assert [row for _, row in read_rows(array)] == rows
        assert list(read_rows(lines)) == list(enumerate(rows, 1))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("packed", [False, True])
def test_however_a_text_is_saved_its_rows_are_the_same(file, encoding, packed):
    rows = [{"a": "é\U0001f600" * n} for n in range(700)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows)
    raw = (b"\xfe\xff" if encoding.endswith("be") else b"") + text.encode(encoding)
    file.write_bytes(gzip.compress(raw) if packed else raw)
    assert list(read_rows(file)) == list(enumerate(rows, 1))


def test_a_nan_is_missing_and_an_infinity_a_number(file):
    file.write_text('{"a": NaN, "b": [NaN, -Infinity]}\n')
    assert [row for _, row in read_rows(file)] == [{"a": None, "b": [None, -math.inf]}]


def test_keys_that_people_wrote_lose_their_blanks(file):
    file.write_text('{" a": 1, "b\\u00a0": 2}\n{" a": 3, "b\\u00a0": 4}\n')
    assert [row for _, row in user_rows(file)] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


@pytest.mark.parametrize(
    "table",
    [
        {"a": {"0": 1, "1": 2}, "b": {"0": 3, "1": 4}},  # pandas: orient columns, its default
        {"0": {"a": 1, "b": 3}, "1": {"a": 2, "b": 4}},  # index
        {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 3], [2, 4]]},  # split
    ],
)
def test_a_table_of_columns_is_refused(file, table):
    file.write_text(json.dumps(table))
    with pytest.raises(InputError, match="line 1: a whole table in one JSON object"):
        list(user_rows(file))


def test_line_numbers_of_an_indented_array_and_of_lines_with_blank_ones(file):
    file.write_text('\n[\n {"a": 1},\n {\n  "a": "x\\ny"},\n\n {"a": 3}]\n')
    assert list(read_rows(file)) == [(3, {"a": 1}), (4, {"a": "x\ny"}), (7, {"a": 3})]
    file.write_text('\ufeff{"a": 1}\n\n  \n{"a": "\u2028"}\r\n{"a": 3}', encoding="utf-8")
    assert list(read_rows(file)) == [(1, {"a": 1}), (4, {"a": "\u2028"}), (5, {"a": 3})]


@pytest.mark.parametrize("content", ["", "\n \n", "[]", " [ ]\n"])
def test_nothing_is_no_rows(file, content):
    file.write_text(content)
    assert list(read_rows(file)) == []


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ('{"a": 1}\n{"a": \n', 2, "not a JSON object"),
        ('{"a": 1}\n{"a": 1} {"a": 2}\n', 2, "Extra data"),
        ('{"a": 1}\n\n7\n', 3, "a number, where a JSON object is expected"),
        ('{"a": 1}\nnull\n', 2, "null, where"),
        ("{" + '"a":{' * 100_000, 1, "not a JSON object"),
        ('{"a": ' + "9" * 5000 + "}", 1, "not a JSON object"),
        ('[{"a": 1},\n{"a": }, {"b": "' + "x" * 1000 + '"}]', 2, "not a JSON object"),
        ('[{"a": 1}\n{"a": 2}]', 2, "a comma is missing"),
        ('[{"a": 1},\n\n["a"]]', 3, "a list, where a JSON object is expected"),
        ('[{"a": 1},\n{"a": 2}', 2, "not closed"),
        ('[{"a": 1},\n{"a": "2', 2, "cut short"),
        ('[{"a": 1},\n', 2, "not closed"),
        ('[{"a": 1}]\n\n{"a": 2}', 3, "after the end"),
    ],
)
def test_a_bad_row_is_named_by_line(file, content, line, what):
    file.write_text(content)
    message = error_of(file)
    assert f", line {line}: " in message
    assert what in message


def test_rows_before_a_bad_one_are_given(file):
    file.write_text('{"a": 1}\n{"a": 2}\nrubbish\n')
    rows = read_rows(file)
    assert [next(rows), next(rows)] == [(1, {"a": 1}), (2, {"a": 2})]
    with pytest.raises(InputError):
        next(rows)


def test_a_bad_element_is_found_without_reading_the_rest_of_the_array(file):
    file.write_text('[{"a": 1}, {"a" 2}, ' + '{"a": "' + "x" * (1 << 22) + '"}]')
    with open(file, "rb") as raw:
        rows = jsonl._array_rows(str(file), raw)
        assert next(rows) == (1, {"a": 1})
        with pytest.raises(InputError):
            next(rows)
        assert raw.tell() <= 1 << 20


@pytest.mark.parametrize("form", ["lines", "array", "packed lines"])
def test_reading_holds_a_row_at_a_time(file, form):
    row = encode_json({"text": "x" * 1000})
    content = b"[" + b",".join([row] * 8000) + b"]" if form == "array" else (row + b"\n") * 8000
    file.write_bytes(gzip.compress(content, 1) if form == "packed lines" else content)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(file)) == 8000
        assert tracemalloc.get_traced_memory()[1] < len(content) / 4
    finally:
        tracemalloc.stop()


def test_files_that_are_no_json_text(file, tmp_path):
    assert "no such file" in error_of(tmp_path / "missing")
    assert "a folder" in error_of(tmp_path)
    file.write_bytes(b"PAR1\x00\x01\x02")
    assert "binary" in error_of(file)
    file.write_bytes('{"a": "é"}\n'.encode("utf-16-le"))
    assert "UTF-16 text without a byte-order mark" in error_of(file)
    file.write_bytes('{"a": "é"}\n'.encode("utf-32"))
    assert "UTF-32" in error_of(file)
    file.write_bytes('{"a": "é"}\n'.encode("utf-16")[:-1])
    assert "damaged UTF-16" in error_of(file)
    file.write_bytes(b'{"a": 1}\n' + '{"a": "é"}'.encode("latin-1"))
    assert "line 2: not UTF-8" in error_of(file)
    file.write_bytes(b'[{"a": 1},\n' + '{"a": "é"}]'.encode("latin-1"))
    assert "not UTF-8" in error_of(file)
    packed = gzip.compress(b'{"a": 1}\n' * 1000)
    file.write_bytes(packed[: len(packed) // 2])
    assert "damaged gzip" in error_of(file)
    file.write_bytes(packed[:20] + b"\xff\xff\xff" + packed[23:])
    assert "damaged gzip" in error_of(file)
    with pytest.raises(InputError, match="not a file name"):
        list(read_rows("a\0b"))


def test_encoding_is_always_valid_json():
    value = {"nan": math.nan, "inf": [-math.inf, 1.5], "np": np.float32(0.5), "n": np.int64(3), "b": np.bool_(True)}
    value |= {"array": np.array([[1.0, math.nan]]), "path": Path("a/b"), "text": "é\U0001f600"}
    expected = {"nan": None, "inf": [None, 1.5], "np": 0.5, "n": 3, "b": True, "array": [[1.0, None]]}
    expected |= {"path": "a/b", "text": "é\U0001f600"}
    assert json.loads(encode_json(value)) == expected
    assert json.loads(encode_json(value, indent=2)) == expected
    assert "é\U0001f600".encode() in encode_json(value)
    lone = {"a": "x\ud800y", "b": [1.0]}
    assert json.loads(encode_json(lone).decode("utf-8")) == lone
    with pytest.raises(TypeError, match="object cannot be written"):
        encode_json({"a": object()})


@settings(deadline=None, max_examples=20)
@given(rows=ROWS, name=st.sampled_from(["a.jsonl", "a.jsonl.gz"]))
def test_written_rows_read_back(tmp_path_factory, rows, name):
    path = tmp_path_factory.mktemp("out") / "new folder" / name
    assert write_jsonl(path, iter(rows)) == len(rows)
    assert [row for _, row in read_rows(path)] == rows
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith("gz")
    first = path.read_bytes()
    write_jsonl(path, rows)
    assert path.read_bytes() == first
    assert os.listdir(path.parent) == [name]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(file):
    write_json(file, {"a": [1]})
    assert json.loads(file.read_text()) == {"a": [1]}

    def rows():
        yield {"a": 2}
        raise RuntimeError("the rows stop")

    with pytest.raises(RuntimeError, match="the rows stop"):
        write_jsonl(file, rows())

    def full_disk():
        with replacing(file) as out:
            out.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        full_disk()
    assert json.loads(file.read_text()) == {"a": [1]}
    assert os.listdir(file.parent) == [file.name]


def test_mode_follows_the_umask_and_links_are_followed(file, tmp_path):
    link = tmp_path / "link"
    write_json(file, 1)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask
    link.symlink_to(file)
    write_json(link, 2)
    assert link.is_symlink()
    assert file.read_text() == "2\n"


def test_what_cannot_be_written_is_a_user_error(tmp_path, file):
    with pytest.raises(InputError, match="a folder"):
        write_json(tmp_path, 1)
    write_json(file, 1)
    with pytest.raises(InputError, match="cannot be written"):
        write_json(file / "below a file", 1)


def test_a_device_is_written_to_directly():
    write_json("/dev/null", {"a": 1})
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
