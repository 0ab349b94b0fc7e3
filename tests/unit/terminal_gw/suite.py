"""What every implementation of the gateway's repositories keeps; run against the fakes and against PostgreSQL."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from services.terminal_gw.application.ports import SignedIn, UnitOfWork
from services.terminal_gw.domain.errors import PsamInUse, TerminalExists, TerminalUnknown
from services.terminal_gw.domain.upload import HeaderFacts, UploadState
from tests.unit.terminal_gw.fakes import NOON, a_spec, a_start

Database = Callable[[], UnitOfWork]
DAY = timedelta(days=1)
FACTS = HeaderFacts("11139901FFFFFFFF", 5, 7, 2**63)


class TerminalsSuite:
    """Provide the fixture `gateway_rows`: an empty database behind units of work."""

    async def test_an_unknown_number_is_refused(self, gateway_rows: Database) -> None:
        async with gateway_rows() as uow:
            for read in (uow.terminals.get, uow.terminals.get_for_update):
                with pytest.raises(TerminalUnknown) as refused:
                    await read("0" * 12)
                assert refused.value.facts == {"terminal": "0" * 12}

    async def test_only_new_terminals_are_returned_and_contradictions_refused(self, gateway_rows: Database) -> None:
        async with gateway_rows() as uow:
            await uow.terminals.register("metro", [a_spec(1), a_spec(2)], NOON)
            new = await uow.terminals.register("metro", [a_spec(2), a_spec(3)], NOON + DAY)
            assert [one.spec for one in new] == [a_spec(3)]
            await uow.commit()
        for specs, participant, refusal, facts in (
            ([a_spec(1)], "bus", TerminalExists, {"terminal": "020100000001"}),
            ([a_spec(2, device_number=9), a_spec(9)], "metro", TerminalExists, {"terminal": "020100000002"}),
            ([a_spec(9, psam_number=a_spec(3).psam_number)], "metro", PsamInUse,
             {"psam": a_spec(3).psam_number, "terminal": "020100000003"}),
            ([a_spec(8), a_spec(9, psam_number=a_spec(8).psam_number)], "metro", PsamInUse,
             {"psam": a_spec(8).psam_number, "terminal": "020100000008"}),
        ):  # fmt: skip
            async with gateway_rows() as uow:
                with pytest.raises(refusal) as refused:
                    await uow.terminals.register(participant, specs, NOON)
            assert refused.value.facts == facts
        async with gateway_rows() as uow:
            assert len(await uow.terminals.list(None, "", 9)) == 3

    async def test_pages_are_by_number_and_may_be_of_one_participant(self, gateway_rows: Database) -> None:
        async with gateway_rows() as uow:
            await uow.terminals.register("metro", [a_spec(1), a_spec(3), a_spec(4)], NOON)
            await uow.terminals.register("bus", [a_spec(2)], NOON)
            every = await uow.terminals.list(None, "020100000001", 2)
            assert [one.spec for one in every] == [a_spec(2), a_spec(3)]
            assert [one.spec for one in await uow.terminals.list("metro", "020100000001", 9)] == [a_spec(3), a_spec(4)]

    async def test_revocation_and_sign_in_come_back_with_the_terminal(self, gateway_rows: Database) -> None:
        number = a_spec(1).terminal_number
        async with gateway_rows() as uow:
            await uow.terminals.register("metro", [a_spec(1)], NOON)
            terminal = await uow.terminals.get_for_update(number)
            await uow.terminals.save_revocation(terminal.revoke_psam(NOON + DAY))
            for hours in (1, 2):
                at = NOON + timedelta(hours=hours)
                await uow.sign_ins.save(SignedIn(f"terminals/{number}", "citycard://x", at, 0, 0, "1.0"))
            await uow.commit()
        async with gateway_rows() as uow:
            terminal = await uow.terminals.get(number)
        assert (terminal.psam_revoke_time, terminal.sign_in_time) == (NOON + DAY, NOON + timedelta(hours=2))

    async def test_the_list_version_only_goes_up(self, gateway_rows: Database) -> None:
        async with gateway_rows() as uow:
            for version in (0, 5, 3):
                await uow.sign_ins.raise_blacklist_version(version)
            assert await uow.sign_ins.blacklist_version() == 5


class UploadsSuite:
    """Provide the fixture `gateway_rows`: an empty database behind units of work."""

    async def test_a_claim_makes_the_upload_once(self, gateway_rows: Database) -> None:
        start = a_start(b"x" * 5000)
        async with gateway_rows() as uow:
            assert await uow.uploads.find(start.key) is None
            upload_id, upload = await uow.uploads.claim(start, NOON)
            assert (upload.state, upload.received_bytes, upload.size_bytes) == (UploadState.RECEIVING, 0, 5000)
            await uow.commit()
        async with gateway_rows() as uow:
            assert await uow.uploads.claim(start, NOON) == (upload_id, upload)
            other, _ = await uow.uploads.claim(a_start(b"x" * 5000, "bus"), NOON)
            assert other != upload_id

    async def test_bytes_come_back_from_any_offset(self, gateway_rows: Database) -> None:
        data = bytes(range(256)) * 10_000
        start = a_start(data)
        async with gateway_rows() as uow:
            upload_id, _ = await uow.uploads.claim(start, NOON)
            await uow.uploads.write(upload_id, 0, data[:1_500_000], NOON)
            await uow.uploads.write(upload_id, 1_500_000, data[1_500_000:], NOON)
            for offset in (0, 1, 1_048_576, 1_500_000, len(data) - 1):
                part = await uow.uploads.part(start.key, offset)
                assert part
                assert data.startswith(part, offset)
            assert await uow.uploads.part(start.key, len(data)) == b""
            found = await uow.uploads.find(start.key)
            assert found is not None
            assert found.received_bytes == len(data)
            await uow.uploads.clear(upload_id, 7)
            found = await uow.uploads.find(start.key)
            assert found is not None
            assert (found.received_bytes, found.size_bytes) == (0, 7)
            assert await uow.uploads.part(start.key, 0) == b""

    async def test_a_stored_upload_is_final_and_listed_by_position(self, gateway_rows: Database) -> None:
        for number in range(4):
            start = a_start(b"%d" % number, "bus" if number == 2 else "metro")
            async with gateway_rows() as uow:
                upload_id, _ = await uow.uploads.claim(start, NOON)
                await uow.uploads.write(upload_id, 0, b"%d" % number, NOON)
                sequence = await uow.uploads.next_sequence()
                stored = await uow.uploads.store(upload_id, start, FACTS, NOON + number * DAY, sequence)
                await uow.commit()
            assert (stored.sequence, stored.header, stored.store_time) == (number + 1, FACTS, NOON + number * DAY)
        async with gateway_rows() as uow:
            await uow.uploads.remove(start.key)
            assert await uow.uploads.remove_abandoned(NOON + 9 * DAY) == 0
            assert await uow.uploads.find(start.key) == stored

            async def sequences(participant: str | None, after: int, size: int, days: int | None) -> list[int]:
                since = None if days is None else NOON + days * DAY
                page = await uow.uploads.list(participant, after, size, store_time_min=since)
                return [one.sequence for one in page]

            assert await sequences(None, 1, 2, None) == [2, 3]
            assert await sequences("metro", 0, 9, None) == [1, 2, 4]
            assert await sequences(None, 0, 9, 2) == [3, 4]
            proof = await uow.uploads.prove_stored()
        assert (proof.stored_count, proof.record_count, proof.total_fen) == (4, 28, 4 * 2**63)
        assert (proof.sequence_last, proof.hole_count) == (4, 0)

    async def test_what_is_being_received_can_be_removed_and_is_when_abandoned(self, gateway_rows: Database) -> None:
        old, young = a_start(b"old"), a_start(b"young")
        async with gateway_rows() as uow:
            await uow.uploads.claim(old, NOON)
            await uow.uploads.claim(young, NOON + 2 * DAY)
            await uow.uploads.refuse(old, NOON, "UPLOAD_MALFORMED", {"file_code": "10", "detail": "x" * 5000})
            assert await uow.uploads.remove_abandoned(NOON + DAY) == 1
            assert await uow.uploads.find(old.key) is None
            await uow.uploads.remove(young.key)
            assert await uow.uploads.find(young.key) is None
            assert await uow.uploads.list(None, 0, 9, store_time_min=None) == []
