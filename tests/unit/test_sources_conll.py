"""Sentences in columns: words, comments, broken lines."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources import sources
from polytask.data.sources.files import FileSource

WORD = "{}\t{}\tl\tNOUN\tNN\tA=B\t{}\tobj\t_\t_"


def read(content: str, folder: Path, kind: str = "conll", **options: Any) -> list[tuple[int, Row]]:
    (folder / "file").write_text(content, encoding="utf-8", newline="")
    source = sources.build({"kind": kind, "path": "file", **options}, ())
    assert isinstance(source, FileSource)
    return list(source.read(folder / "file"))


def mistake(content: str, folder: Path, kind: str = "conll", **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(content, folder, kind, **options)
    return str(caught.value).removeprefix(f"{folder}/")


def test_a_row_is_a_sentence_with_a_list_per_column(tmp_path: Path) -> None:
    content = "\ufeffA DT B-NP\r\ncat NN I-NP\r\n\r\n \t\nIt PRP B-NP"
    assert read(content, tmp_path, columns=["words", "pos", "chunk"]) == [
        (1, {"words": ["A", "cat"], "pos": ["DT", "NN"], "chunk": ["B-NP", "I-NP"]}),
        (5, {"words": ["It"], "pos": ["PRP"], "chunk": ["B-NP"]}),
    ]


def test_columns_by_position(tmp_path: Path) -> None:
    content = "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n"
    ((_, row),) = read(content, tmp_path, columns={0: "tokens", -1: "tags"})
    assert row == {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}


@pytest.mark.parametrize("word", ["\u3000", "\xa0", "\u2028", "\x1c", "\u200b", "#", "-"])
@pytest.mark.parametrize("separator", ["\t", " ", "   "])
def test_a_word_may_be_any_character(word: str, separator: str, tmp_path: Path) -> None:
    content = f"{word}{separator}O\n{word}{separator}B-X\n"
    assert read(content, tmp_path) == [(1, {"tokens": [word, word], "tags": ["O", "B-X"]})]


def test_between_tabs_a_word_may_be_or_hold_a_space(tmp_path: Path) -> None:
    ((_, row),) = read(" \tO\nNew York\tB-LOC\n", tmp_path)
    assert row["tokens"] == [" ", "New York"]


def test_document_lines_are_left_out(tmp_path: Path) -> None:
    content = "-DOCSTART- O\n\na O\n\n-DOCSTART- X Y Z\nb O\n\n-DOCSTART- O\n"
    assert [(line, row["tokens"]) for line, row in read(content, tmp_path)] == [
        (3, ["a"]),
        (6, ["b"]),
    ]


def test_only_clear_comments_are_comments(tmp_path: Path) -> None:
    content = (
        "# id 1 domain=en\n# text = a b\n#nocells\na O\n# O\n\n# B-X\nb O\n\n# only a comment\n"
    )
    assert [(line, row["tokens"]) for line, row in read(content, tmp_path)] == [
        (4, ["a", "#"]),
        (7, ["#", "b"]),
    ]


def test_a_comment_with_as_many_cells_as_a_word(tmp_path: Path) -> None:
    content = "# sent_id = 1\na b c O\n\n# # SYM O\n"
    rows = read(content, tmp_path, columns=["tokens", "x", "y", "tags"])
    assert [row["tokens"] for _, row in rows] == [["a"], ["#"]]


@pytest.mark.parametrize("line", ["b", "b O O", "b\tO\tO", "# x y z w"])
def test_another_number_of_cells_is_named_by_its_line(line: str, tmp_path: Path) -> None:
    found = mistake(f"a O\n\na O\n{line}\n", tmp_path)
    assert found.startswith("file:4: ")
    assert "expected columns tokens, tags" in found


def test_a_position_that_no_cell_has(tmp_path: Path) -> None:
    found = mistake("a O\n", tmp_path, columns={0: "tokens", 3: "tags"})
    assert found.startswith("file:1: 2 cells found")


@pytest.mark.parametrize("columns", [[], ["a", "a"], {0: "a", 1: "a"}, {"x": "a"}, "tokens"])
def test_columns_are_checked_with_the_recipe(columns: Any) -> None:
    with pytest.raises(ValidationError):
        sources.parse({"kind": "conll", "path": "file", "columns": columns})


def test_conllu_keeps_ranges_and_empty_nodes_out_of_the_words(tmp_path: Path) -> None:
    lines = [
        "# sent_id = s-1",
        "# text = du a = b",
        "1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_",
        WORD.format(1, "de", 2),
        WORD.format(2, "le", 0),
        "2.1\tx\t_\t_\t_\t_\t_\t_\t1:dep\t_",
        WORD.format(3, "#", "_"),
    ]
    ((line, row),) = read("\n".join(lines) + "\n\n# nothing but a comment\n", tmp_path, "conllu")
    assert line == 1
    assert row["tokens"] == ["de", "le", "#"]
    assert row["head"] == [2, 0, None]
    assert (row["sent_id"], row["text"]) == ("s-1", "du a = b")
    assert row["conllu"].split("\n") == lines
    assert {name: row[name][0] for name in ("lemma", "upos", "xpos", "feats", "deprel")} == {
        "lemma": "l",
        "upos": "NOUN",
        "xpos": "NN",
        "feats": "A=B",
        "deprel": "obj",
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 b l NOUN", "1 cells found, expected 10 between tabs"),
        (WORD.format(3, "b", 0), "ID '3' found, expected 2"),
        (WORD.format("x", "b", 0), "ID 'x' found, expected 2"),
        (WORD.format(2, "b", 3), "HEAD '3' found, expected 0 to 2"),
        (WORD.format(2, "b", "x"), "HEAD 'x' found, expected 0 to 2"),
        (WORD.format(2, "b", -1), "HEAD '-1' found, expected 0 to 2"),
    ],
)
def test_broken_conllu_is_named_by_its_line(line: str, message: str, tmp_path: Path) -> None:
    content = f"# text = a b\n{WORD.format(1, 'a', 0)}\n{line}\n"
    assert mistake(content, tmp_path, "conllu").startswith(f"file:3: {message}")


def predicted(content: str, folder: Path, needed: list[str], **options: Any) -> Row:
    (folder / "new").write_text(content, encoding="utf-8")
    source = sources.build({"kind": "conll", "path": "file", **options}, ())
    assert isinstance(source, FileSource)
    table = source.read_new(folder / "new", needed)
    return {name: [*table.column(name)] for name in table.columns}


@pytest.mark.parametrize(
    ("columns", "content", "needed", "found"),
    [
        (["tokens", "tags"], "a\n#b\n", ["tokens"], {"tokens": [["a", "#b"]]}),
        (["tags", "tokens"], "a\nb\n", ["tokens"], {"tokens": [["a", "b"]]}),
        (["tokens", "pos", "tags"], "a\n", ["tokens"], {"tokens": [["a"]]}),
        (["tokens", "pos", "tags"], "a P\n", ["tokens"], {"tokens": [["a"]], "pos": [["P"]]}),
        (
            ["pos", "tags", "tokens"],
            "P a\n",
            ["pos", "tokens"],
            {"pos": [["P"]], "tokens": [["a"]]},
        ),
        (["tokens", "tags"], "a X\n", ["tokens"], {"tokens": [["a"]], "tags": [["X"]]}),
        ({0: "tokens", -1: "tags"}, "a\n", ["tokens"], {"tokens": [["a"]]}),
        ({1: "tokens", 3: "tags"}, "a\n", ["tokens"], {"tokens": [["a"]]}),
        ({1: "tokens", 3: "tags"}, "1 a\n", ["tokens"], {"tokens": [["a"]]}),
        ({1: "tokens", 3: "tags"}, "1 a N T\n", ["tokens"], {"tokens": [["a"]], "tags": [["T"]]}),
    ],
)
def test_new_files_may_lack_what_is_predicted(
    columns: Any, content: str, needed: list[str], found: Row, tmp_path: Path
) -> None:
    assert predicted(content, tmp_path, needed, columns=columns) == found


def test_all_lines_of_a_new_file_have_the_columns_of_the_first(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="new:3: 2 cells found in 'b X', expected columns tokens"):
        predicted("a\n\nb X\n", tmp_path, ["tokens"])
    with pytest.raises(DataError, match="new:1: 1 cells found"):
        predicted("a\n", tmp_path, ["tokens", "pos"], columns=["tokens", "pos", "tags"])


def test_training_files_need_all_columns(tmp_path: Path) -> None:
    assert "1: 1 cells found in 'a', expected columns tokens, tags" in mistake("a\n", tmp_path)


def test_a_word_is_not_its_own_head(tmp_path: Path) -> None:
    content = "\n".join([WORD.format(1, "a", 0), WORD.format(2, "cat", 2)])
    assert "file:2: HEAD 2 found for word 2, 'cat'" in mistake(content, tmp_path, "conllu")
    cycle = "\n".join([WORD.format(1, "a", 2), WORD.format(2, "cat", 1)])
    assert read(cycle, tmp_path, "conllu")[0][1]["head"] == [2, 1]
