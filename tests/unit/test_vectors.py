"""Word vectors read from the files they are published in."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from polytask.core.errors import DataError
from polytask.core.vectors import read_vectors

DATA = Path(os.environ.get("POLYTASK_DATA", Path(__file__).parents[3] / "shared" / "data"))
GLOVE = "the 0.5 -1.0\ncat 2e-1 3\n"


def written(folder: Path, content: str, name: str = "vectors.txt") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return path


def test_glove_text(tmp_path: Path) -> None:
    words, vectors = read_vectors(written(tmp_path, GLOVE))
    assert words == ["the", "cat"]
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [[0.5, -1.0], [0.2, 3.0]], rtol=1e-6)


@pytest.mark.parametrize("ending", ["\n", " \n", "\r\n"])
def test_word2vec_header_and_line_endings(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, "2 2\n" + GLOVE.replace("\n", ending))
    words, vectors = read_vectors(path)
    assert words == ["the", "cat"]
    assert vectors.shape == (2, 2)


def test_gzip_equals_plain(tmp_path: Path) -> None:
    packed = tmp_path / "vectors.txt.gz"
    packed.write_bytes(gzip.compress(GLOVE.encode()))
    assert read_vectors(packed)[0] == ["the", "cat"]
    np.testing.assert_array_equal(
        read_vectors(packed)[1], read_vectors(written(tmp_path, GLOVE))[1]
    )


def test_only_wanted_words_are_kept_in_file_order(tmp_path: Path) -> None:
    path = written(tmp_path, "3 1\nc 3\na 1\nb broken\n")
    words, vectors = read_vectors(path, {"a", "c", "absent"})
    assert words == ["c", "a"]
    assert vectors.tolist() == [[3.0], [1.0]]


def test_no_wanted_word_is_there(tmp_path: Path) -> None:
    words, vectors = read_vectors(written(tmp_path, GLOVE), {"dog"})
    assert (words, vectors.shape) == ([], (0, 2))


def test_the_first_of_equal_words_counts(tmp_path: Path) -> None:
    words, vectors = read_vectors(written(tmp_path, "a 1\nb 2\na 3\n"))
    assert words == ["a", "b"]
    assert vectors.tolist() == [[1.0], [2.0]]


def test_words_may_contain_spaces_and_unicode_line_ends(tmp_path: Path) -> None:
    words, _ = read_vectors(written(tmp_path, "the 1 2\n. . . 3 4\na\u2028b\x85c 5 6\n"))
    assert words == ["the", ". . .", "a\u2028b\x85c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a 1 2\nb 1\n", r"vectors\.txt:2: expected 2 numbers, found 1 after 'b'"),
        ("a 1 2\nb 1 2 3\n", r"vectors\.txt:2: expected 2 numbers, found 3 after 'b'"),
        ("2 2\na 1 2\nb 1 x\n", r"vectors\.txt:3: 'x' after 'b' is not a finite number"),
        ("a 1 nan\n", r"vectors\.txt:1: 'nan' after 'a' is not a finite number"),
        ("a 1 1e39\n", r"vectors\.txt:1: '1e39' after 'a' is not a finite number"),
        ("3 1\na 1\nb 2\n", r"vectors\.txt:1: announces 3 words, the file ends after line 3"),
        ("", r"vectors\.txt:1: expected a word and its numbers"),
        ("word\n", r"vectors\.txt:1: expected a word and its numbers"),
    ],
)
def test_broken_text_is_named_by_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_vectors(written(tmp_path, content))


def test_unreadable_files_are_data_errors(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(GLOVE.encode() * 100)[:-20])
    not_gzip = written(tmp_path, GLOVE, "plain.gz")
    not_zip = written(tmp_path, GLOVE, "text.npz")
    for path in (cut, not_gzip, not_zip, tmp_path / "absent.txt", tmp_path / "absent.npz"):
        with pytest.raises(DataError, match=path.name):
            read_vectors(path)


def test_arrays(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npz"
    np.savez(path, words=np.array(["好", "坏", "好"]), vectors=np.eye(3, dtype=np.float16))
    words, vectors = read_vectors(path)
    assert words == ["好", "坏"]
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert read_vectors(path, {"坏"})[1].tolist() == [[0, 1, 0]]
    assert read_vectors(path, {"absent"})[1].shape == (0, 3)


def test_broken_arrays(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npz"
    words = np.array(["a", "b"])
    broken: list[dict[str, object]] = [
        {"words": words},
        {"words": words, "vectors": np.zeros((3, 2))},
        {"words": words, "vectors": np.zeros(2)},
        {"words": np.array([1, 2]), "vectors": np.zeros((2, 2))},
        {"words": words.astype(object), "vectors": np.zeros((2, 2))},
    ]
    for arrays in broken:
        np.savez(path, **arrays)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="expected"):
            read_vectors(path)
    np.savez(path, words=words, vectors=np.array([[1.0], [np.inf]]))
    with pytest.raises(DataError, match=r"vectors\[1\]"):
        read_vectors(path)


@pytest.mark.parametrize(
    ("name", "rows", "width", "words"),
    [
        ("glove_twitter_25d/glove.twitter.25d.txt.gz", 11925, 25, ["the", "cat"]),
        ("tencent_char_200d/tencent_char_200d.npz", 4729, 200, ["的", "好"]),
    ],
)
def test_published_files(name: str, rows: int, width: int, words: list[str]) -> None:
    path = DATA / "vectors" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there; set POLYTASK_DATA")
    assert read_vectors(path)[1].shape == (rows, width)
    assert sorted(read_vectors(path, words)[0]) == sorted(words)
