import numpy as np
import pytest

from pyrovae.sources.csv_file import read_csv
from pyrovae.sources.tables import read_table


def rows(tmp_path, content, encoding="utf-8"):
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode(encoding))
    return read_csv(path)


@pytest.mark.parametrize(
    "header",
    ["a,b\n", "a,\n", "Na,K\n", "NA,K\n", '"x\ny",b\n', "\ufeffa,b\n", ""],
    ids=["names", "no name for the last", "sodium", "absent", "two lines", "marked", "none"],
)
def test_a_first_line_of_text_is_a_header(tmp_path, header):
    assert rows(tmp_path, header + "1,2\r\n\n3,4").tolist() == [[1, 2], [3, 4]]


def test_a_first_line_without_text_is_a_row(tmp_path):
    read = rows(tmp_path, "NA,\n1,2\n")
    assert np.isnan(read[0]).all()
    assert read[1].tolist() == [1, 2]


@pytest.mark.parametrize("first", ["1,O,3", "1,,x", "year,2020,2021"])
def test_a_first_line_of_numbers_and_text_is_neither(tmp_path, first):
    wrong = r"line 1 of .*a\.csv holds numbers, such as '.*', and in column \d what is not a number"
    with pytest.raises(TypeError, match=wrong):
        rows(tmp_path, f"{first}\n4,5,6\n")


def test_the_line_of_a_mistake_is_that_of_the_file(tmp_path):
    with pytest.raises(TypeError, match=r"line 5 of .*a\.csv holds what is not a number: .*'x'"):
        rows(tmp_path, '"a\nb",c\n\n1,2\n3,x\n')


def test_other_encodings_are_named_with_the_file(tmp_path):
    with pytest.raises(ValueError, match=r"a\.csv is no text in UTF-8: .*save it as UTF-8"):
        rows(tmp_path, "größe,b\n1,2\n", "latin-1")


def test_a_field_without_end_is_named_with_its_line(tmp_path):
    with pytest.raises(ValueError, match=r"line 2 of .*a\.csv is no CSV: field larger than"):
        rows(tmp_path, "a,b\n1," + "2" * 131_073 + "\n")


@pytest.mark.parametrize("first", [",a,b", " ,a,b", ",0,1"], ids=["names", "space", "numbers"])
def test_row_numbers_are_not_taken_for_data(tmp_path, first):
    with pytest.raises(TypeError, match=r"first column of .*a\.csv has no name, as row numbers"):
        rows(tmp_path, f"{first}\n0,0.5,2\n1,3,4\n")


@pytest.mark.parametrize("lines", ["0,1,2\n3,4,5\n", "0,1\n0.5,1\n"], ids=["three", "two"])
def test_numbers_of_columns_are_not_taken_for_a_row(tmp_path, lines):
    with pytest.raises(TypeError, match=r"first line of .*a\.csv is 0, 1, \.\.\., \d, as columns"):
        rows(tmp_path, lines)


def test_rows_that_begin_like_numbers_of_columns_are_read(tmp_path):
    assert rows(tmp_path, "0,1\n1,1\n").tolist() == [[0, 1], [1, 1]]
    assert np.array_equal(rows(tmp_path, ",0\n1,1\n")[0], [np.nan, 0], equal_nan=True)
    assert rows(tmp_path, "0\n0.5\n").tolist() == [[0], [0.5]]
    assert np.array_equal(rows(tmp_path, ",1,0.5\n1,2,3\n")[0], [np.nan, 1, 0.5], equal_nan=True)


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
@pytest.mark.parametrize("line", ["1,5{}2,5", "1{}2"], ids=["decimal commas", "decimal points"])
def test_other_marks_between_fields_are_named(tmp_path, line, mark, name):
    with pytest.raises((TypeError, ValueError), match=rf"parted by commas here, not by {name}"):
        rows(tmp_path, f"a{mark}b\n" + line.format(mark) + "\n")


@pytest.mark.parametrize("ending", ["CSV", "Npy"])
def test_an_ending_may_be_in_capitals(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    with path.open("wb") as file:
        np.save(file, np.eye(3)) if ending == "Npy" else np.savetxt(file, np.eye(3), delimiter=",")
    assert np.array_equal(read_table(path).values, np.eye(3))
