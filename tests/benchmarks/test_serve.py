"""The table of the server's speed, and the page that shows it."""

from pathlib import Path

from benchmarks import report
from benchmarks.serve import CLIENTS, KEY, SERVERS, table

ROOT = Path(__file__).parents[2]


def test_the_page_shows_the_recorded_table():
    """Protects the page from figures that nobody measured."""
    lines = report.Lines(ROOT / "results" / "serve", "serve.csv", KEY).all()
    assert {(line["server"], line["clients"]) for line in lines} == {
        (server, clients) for server in SERVERS for clients in CLIENTS
    }
    page = (ROOT / "docs" / "serve.md").read_text()
    assert table(lines) in page
    lines[0]["requests_per_second"] += 1
    assert table(lines) not in page
