"""The chart of accounts that comes with the service."""

from importlib.resources import files

from services.account.domain.chart import Chart


def standard_chart() -> Chart:
    """The chart of clearing-and-ledger.md, section 8."""
    return Chart.from_json((files("services.account.domain") / "chart.json").read_text(encoding="utf-8"))
