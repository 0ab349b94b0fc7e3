"""SetRanking and GetRanking: how lists are cut for small terminals."""

from collections.abc import Callable

from libs.runtime.requests import RequestKey
from services.blacklist.application.list_ports import ListsUnitOfWork, Ranking


class SetRanking:
    """Another ranking, from the next published version on."""

    def __init__(self, unit_of_work: Callable[[], ListsUnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, ranking: Ranking, request: RequestKey) -> Ranking:
        """Set it; of what is named twice the first place counts."""
        ranking = Ranking(tuple(dict.fromkeys(ranking.reasons)), tuple(dict.fromkeys(ranking.home_prefixes)))
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Ranking)
            await uow.files.set_ranking(ranking)
            await uow.requests.answer(request, ranking)
            await uow.commit()
        return ranking


class GetRanking:
    """The ranking in force."""

    def __init__(self, unit_of_work: Callable[[], ListsUnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self) -> Ranking:
        """Read it."""
        async with self._unit_of_work() as uow:
            return await uow.files.ranking()
