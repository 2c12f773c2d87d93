from __future__ import annotations

from pathlib import Path

import pytest

from featalign.models import list_models, model_options
from featalign.models.counts import compare, to_markdown
from featalign.models.tables import TABLES, Row, Table

DOCS = Path(__file__).parents[2] / "docs" / "counts.md"
ROWS = [pytest.param(table, row, id=f"{table.title}: {row.label}") for table in TABLES for row in table.rows]


def only(title: str, *labels: str) -> Table:
    table = next(table for table in TABLES if table.title == title)
    rows = tuple(row for row in table.rows if row.label in labels)
    return Table(table.title, table.size, table.convention, table.count, rows)


def test_every_row_of_the_papers_is_there():
    assert {table.title: len(table.rows) for table in TABLES} == {
        "IFA Table 1": 7,
        "IFA Table 5": 4,
        "FaPN Table 1": 8,
        "FaPN supplement, Table I": 4,
    }


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_rows_name_a_network_and_its_options(table: Table, row: Row):
    if row.build is None:
        assert row.note
        return
    assert row.build["name"] in list_models()
    assert set(row.build) - {"name"} <= set(model_options(row.build["name"]))


def test_counts_that_the_papers_print():
    tables = [
        only("IFA Table 1", "IFA"),
        only("FaPN Table 1", "FPN + FAM + FSM (FaPN)"),
        only("FaPN supplement, Table I", "FPN", "+ FAM + FSM + Concat"),
    ]
    found = list(compare(tables))
    assert all(comparison.matches for comparison in found), [comparison.to_json() for comparison in found]
    assert found[0].gflops == pytest.approx(186.84, abs=0.01)
    assert found[-1].gflops == pytest.approx(51.79, abs=0.01)  # without the product of deformable convolutions


def test_what_does_not_match_shows():
    table = only("FaPN supplement, Table I", "FPN")
    (right,) = compare([table])
    assert right.matches and right.parameters is not None and right.gflops is not None
    build = table.rows[0].build
    rows = Row("fewer", 11.2, 44.5, build), Row("more", 11.4, 50.0, build), Row("none", 1.0, None, None, "why | not")
    fewer, more, none = compare([Table("t", table.size, "as counted", table.count, rows)])
    assert not fewer.matches and fewer.parameters_difference == pytest.approx(right.parameters - 11.2)
    assert not more.matches and more.gflops_difference == pytest.approx(right.gflops - 50)
    assert not none.matches and none.to_json()["ours"] == {"parameters": None, "gflops": None}
    page = to_markdown([fewer, more, none]).splitlines()
    assert page.count("## t") == 1
    assert "| more | `name=fapn_realtime, align=nearest` | 11.4 | 11.37 | -0.03 | 50.0 | 44.55 | -5.45 |  |" in page
    assert "| none |  | 1.0 |  |  |  |  |  | why \\| not |" in page


@pytest.mark.slow
def test_every_row_matches_or_says_why_and_the_page_is_up_to_date():
    found = list(compare(TABLES))
    assert not [comparison.to_json() for comparison in found if not comparison.matches and not comparison.row.note]
    assert DOCS.read_text(encoding="utf-8") == to_markdown(found)
