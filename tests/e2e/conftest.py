"""What the stories share: the day that is played, and a place for a city of one's own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from city.servers import LocalServers
from city.simulation.plan import DayPlan
from city.simulation.play import PlayedDay, play
from city.simulation.recorded import read_day
from city.simulation.synthetic import make_day

SEED = 5
RECORDS_SMALL = 2_000
# Real records are no part of the project; they lie beside it, or where this variable says.
DATA_VARIABLE = "CITYCARD_DATA"
DATA_BESIDE = Path(__file__).parents[3] / "shared" / "data" / "shenzhen_tong_2018" / "transactions.csv.gz"


def real_data() -> Path | None:
    path = Path(os.environ.get(DATA_VARIABLE, DATA_BESIDE))
    return path if path.exists() else None


@pytest.fixture(scope="session")
def real_day() -> PlayedDay:
    """The real day, its taps made by virtual cards and terminals."""
    path = real_data()
    if path is None:
        pytest.skip(f"no real records: {DATA_BESIDE} is absent and {DATA_VARIABLE} is not set")
    return play(read_day(path), SEED)


@pytest.fixture(scope="session")
def small_plan() -> DayPlan:
    return make_day(SEED, RECORDS_SMALL)


@pytest.fixture(scope="session")
def small_day(small_plan: DayPlan) -> PlayedDay:
    return play(small_plan, SEED)


@pytest.fixture(scope="module")
def new_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Folders for cities; their servers and data are gone after the module."""
    made: list[Path] = []

    def make(name: str) -> Path:
        made.append(tmp_path_factory.mktemp(name))
        return made[-1]

    yield make
    for root in made:
        LocalServers(root).destroy()
