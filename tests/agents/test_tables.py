"""Tables in files: read as people write them, shown from their beginning, asked with SQL that can do nothing else."""

import asyncio
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from dizuo.agents.tables import MOST_COLUMNS, Table, number, preview, query_table, read_table
from dizuo.core.errors import UserError
from dizuo.core.tools import Artifact, ToolContext, ToolResult

SALES = 'city,month,sold\nOslo,1,10\nOslo,2,"1,200.5"\nBergen,1,7\n'


def table(text: str, encoding: str = "utf-8") -> Table:
    return read_table(io.BytesIO(text.encode(encoding)))


@pytest.fixture
def ask(tmp_path: Path) -> Any:
    (tmp_path / "sales.csv").write_text(SALES)
    (tmp_path / "销售.csv").write_bytes("城市,数量\n昆明,3\n大连,4\n昆明,5\n".encode("gb18030"))

    def asked(sql: str, *files: str, **more: Any) -> ToolResult:
        arguments = {"sql": sql, "files": files or ["sales.csv"], **more}
        return asyncio.run(query_table.call(json.dumps(arguments), ToolContext(workspace=tmp_path)))

    return asked


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("a,b\n1,x\n", "utf-8"),
        ("a;b\n1;x\n", "utf-8-sig"),
        ("a\tb\r\n1\tx\r\n", "utf-8"),
        ("\na|b\n\n1|x\n |\n", "utf-8"),
        ('"a","b"\n"1","x"', "utf-8"),
    ],
)
def test_a_table_is_read_whatever_cuts_its_cells(text: str, encoding: str) -> None:
    assert table(text, encoding) == Table(["a", "b"], [["1", "x"]])


def test_a_table_of_chinese_excel_is_read() -> None:
    assert table("城市,数量\n昆明,3\n", "gb18030") == Table(["城市", "数量"], [["昆明", "3"]])


def test_rows_of_different_length_and_names_that_are_missing_or_twice_are_put_right() -> None:
    assert table("a,,A\n1\n1,2,3,4\n") == Table(
        ["a", "column 2", "A 2", "column 4"], [["1", "", "", ""], ["1", "2", "3", "4"]]
    )


@pytest.mark.parametrize("data", [b"", b"\n , \n", b"a,b\n\0\n", ",".join("x" * (MOST_COLUMNS + 1)).encode()])
def test_what_is_no_table_is_refused(data: bytes) -> None:
    with pytest.raises(UserError):
        read_table(io.BytesIO(data))


def test_of_a_huge_table_the_first_rows_are_shown_and_that_there_is_more() -> None:
    wide = ",".join(f"c{n}" for n in range(40))
    data = (wide + "\n" + "\n".join(",".join(["x" * 5000, *(str(n) for n in range(39))]) for _ in range(4000))).encode()
    began = time.monotonic()
    shown = preview(io.BytesIO(data))
    assert time.monotonic() - began < 1
    assert (len(shown.columns), len(shown.rows), shown.more) == (12, 20, True)
    assert len(shown.rows[0][0]) == 200
    assert not preview(io.BytesIO(b"a\n1\n")).more


@pytest.mark.parametrize(
    ("text", "value"),
    [("1,234.5", 1234.5), ("-7", -7), ("+.5", 0.5), ("1e3", 1000.0), ("12,34", None), ("", None), (".", None),
     ("١", None), ("1 000", None), ("0x10", None), ("nan", None), ("2024-01-01", None)],
)  # fmt: skip
def test_a_cell_is_a_number_or_a_text(text: str, value: float | None) -> None:
    assert number(text) == value


# --- asking ---------------------------------------------------------------------------------------------------


def test_a_table_is_asked_and_its_numbers_are_exact(ask: Any) -> None:
    found = ask("SELECT city, sum(sold) AS total FROM sales GROUP BY city ORDER BY total DESC")
    assert found == ToolResult(text="city,total\nOslo,1210.5\nBergen,7\n", trusted=False)
    assert ask("SELECT sum(数量) AS n FROM 销售 WHERE 城市 = '昆明'", "销售.csv").text == "n\n8\n"
    assert ask("SELECT a.city FROM sales a JOIN 销售 b ON a.sold = b.数量 + 2", "sales.csv", "销售.csv").text == (
        "city\nBergen\n"
    )


def test_a_result_is_saved_and_shown(ask: Any, tmp_path: Path) -> None:
    found = ask("SELECT month FROM sales", save_as="out/months.csv")
    assert found.artifacts == (Artifact(path="out/months.csv", kind="table", size_bytes=12),)
    assert (tmp_path / "out" / "months.csv").read_text() == "month\n1\n2\n1\n"


def test_a_text_that_a_spreadsheet_would_obey_is_made_harmless(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text('name,n\n"=HYPERLINK(""http://x"")",-1\n@sum,2\n-x,3\n')
    ask("SELECT * FROM bad", "bad.csv", save_as="good.csv")
    assert (tmp_path / "good.csv").read_text() == 'name,n\n"\'=HYPERLINK(""http://x"")",-1\n\'@sum,2\n\'-x,3\n'


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM sales",
        "DROP TABLE sales",
        "ATTACH 'x.db' AS x",
        "PRAGMA database_list",
        "SELECT load_extension('x')",
        "SELECT 1; SELECT 2",
        "INSERT INTO sales VALUES (1, 2, 3)",
        "CREATE TABLE t AS SELECT 1",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
        "VACUUM INTO 'x.db'",
        "SELECT zeroblob(1000000000)",
        "SELECT 'a' LIKE printf('%.*c', 1000, '%')",
        "SELECT nothing FROM sales",
        "",
    ],
)
def test_sql_does_nothing_but_read_the_tables(ask: Any, sql: str, tmp_path: Path) -> None:
    began = time.monotonic()
    assert ask(sql).failed
    assert time.monotonic() - began < 2
    assert sorted(one.name for one in tmp_path.iterdir()) == ["sales.csv", "销售.csv"]


def test_a_query_that_takes_too_long_is_ended(ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dizuo.agents.tables._SECONDS", 0.2)
    (tmp_path / "many.csv").write_text("n\n" + "1\n" * 3000)
    found = ask("SELECT count(*) FROM many a, many b, many c", "many.csv")
    assert found.failed
    assert "took over" in found.text


def test_a_result_that_fills_the_memory_is_ended(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "many.csv").write_text("n\n" + "1\n" * 3000)
    found = ask("SELECT printf('%.*c', 1000000, 'x') FROM many a, many b", "many.csv")
    assert found.failed
    assert "over 16777216 bytes" in found.text


def test_a_wrong_query_is_told_the_columns_as_words_of_others(ask: Any) -> None:
    found = ask("SELECT town FROM sales")
    assert found == ToolResult(
        text="no such column: town. The tables are sales: city, month, sold", failed=True, trusted=False
    )
