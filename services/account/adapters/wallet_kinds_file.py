"""The catalogue of wallets that comes with the service."""

from importlib.resources import files

from services.account.domain.chart import Chart
from services.account.domain.wallets import Catalogue


def standard_catalogue(chart: Chart) -> Catalogue:
    """The kinds and purposes of `wallet_kinds.json`, over a chart."""
    text = (files("services.account.domain") / "wallet_kinds.json").read_text(encoding="utf-8")
    return Catalogue.from_json(text, chart)
