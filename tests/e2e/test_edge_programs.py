"""The programs of the field against a real gateway: a terminal over its own line, another by a collector's cable."""

import asyncio
import json
import sys
from datetime import date
from pathlib import Path
from uuid import uuid4

import pytest
from citycard.common.v1.types_pb2 import Date
from citycard.terminal_gw.v1 import collection_service_pb2
from citycard.terminal_gw.v1 import terminal_gw_pb2 as gw
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service
from typer.testing import CliRunner

from city.demo.platform import DemoPlatform
from city.keys import CITY_CODE, ISSUER_ID
from city.simulation.operators import CENTRE_ID, OPERATORS
from cli.main import build
from edge.collector.visit import Centre
from libs.runtime.client import TlsFiles
from tests.unit.edge.test_roles import a_document

RUN = CliRunner()
OPERATOR = OPERATORS[0]
LINE, CABLE = "010000000001", "010000000002"


def a_home(folder: Path, number: str, device: int, batch_first: int) -> Path:
    home = folder / number
    home.mkdir()
    said = {
        "terminal_number": number, "psam_number": f"58400001{number}", "acquirer_id": OPERATOR.institution_id,
        "accepting_city": CITY_CODE, "industry_code": "0001", "operator_number": OPERATOR.number,
        "device_number": device, "station": device, "participant": OPERATOR.slug, "issuer_id": ISSUER_ID,
        "centre_id": CENTRE_ID, "batch_first": batch_first, "batch_last": batch_first + 999,
    }  # fmt: skip
    (home / "terminal.json").write_text(json.dumps(said))
    (folder / "pack.json").write_text(json.dumps(a_document(effective="2025-01-01T00:00:00+08:00")))
    return home


async def citycard(*arguments: str) -> tuple[int, str]:
    """The command in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli.main", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode or 0, out.decode()


def tls_options(files: TlsFiles) -> list[str]:
    return ["--ca", str(files.ca), "--cert", str(files.cert), "--key", str(files.key)]


@pytest.mark.slow
async def test_a_ride_reaches_the_gateway_over_a_line_and_over_a_cable_and_both_days_are_complete(
    tmp_path: Path,
) -> None:
    card = tmp_path / "card.json"
    made = RUN.invoke(build(), ["card", "personalise", "--out", str(card), "--balance-fen", "5000"])
    assert made.exit_code == 0, made.output
    entry, leave = a_home(tmp_path, LINE, 1, 1_000), a_home(tmp_path, CABLE, 2, 2_000)
    pack = str(tmp_path / "pack.json")
    for home, role in ((entry, "gate-entry"), (leave, "gate-exit")):
        code, said = await citycard(
            "terminal", "--home", str(home), "--role", role, "--pack", pack, "--card", str(card), "--close-day"
        )
        assert code == 0, said
    platform = DemoPlatform(tmp_path / "city", only=("blacklist", "terminal_gw"))
    async with platform:
        channel = platform.channel("terminal_gw")
        centre = Centre.over(channel)
        specs = [
            service.TerminalSpec(
                terminal_number=number, psam_number=f"58400001{number}", operator_number=OPERATOR.number,
                device_number=device, industry_code="0001",
            )
            for number, device in ((LINE, 1), (CABLE, 2))
        ]  # fmt: skip
        await centre.gateway.BatchRegisterTerminals(
            service.BatchRegisterTerminalsRequest(
                request_id=str(uuid4()), participant=OPERATOR.participant, terminals=specs
            )
        )
        address = platform.address("terminal_gw")
        line = tls_options(platform.tls(f"terminal/{OPERATOR.slug}/{LINE}"))
        own = ("terminal", "--home", str(entry), "--role", "gate-entry", "--gateway", address, *line)
        code, said = await citycard(*own)
        assert code == 0, said
        assert "1 records taken, 1 stored" in said
        code, said = await citycard(*own)
        assert "0 records taken, 0 stored" in said, "nothing is sent twice"

        socket = tmp_path / "cable"
        serving = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli.main", "terminal", "--home", str(leave), "--role", "gate-exit",
            "--socket", str(socket), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        for _ in range(200):
            if socket.exists():
                break
            await asyncio.sleep(0.1)
        collector = tls_options(platform.tls(f"collector/{OPERATOR.slug}/depot-1"))
        code, said = await citycard(
            "collector", "--home", str(tmp_path / "depot"), "--participant", OPERATOR.slug, "--institution",
            OPERATOR.institution_id, "--centre", CENTRE_ID, "--gateway", address, *collector, "--socket", str(socket),
        )  # fmt: skip
        serving.terminate()
        await asyncio.wait_for(serving.wait(), 30)
        assert code == 0, said
        assert "1 records taken, 1 stored" in said

        uploads = (await centre.gateway.ListUploads(service.ListUploadsRequest())).uploads
        assert [one.carrier for one in uploads] == [gw.CARRIER_LINE, gw.CARRIER_COLLECTOR]
        verdicts = set()
        for number, home in ((LINE, entry), (CABLE, leave)):
            (closed,) = json.loads((home / "registers.json").read_text())
            day = date.fromisoformat(closed["business_date"])
            issue = collection_service_pb2.IssueCompletenessCertificateRequest(
                terminal=f"terminals/{number}", business_date=Date(year=day.year, month=day.month, day=day.day)
            )
            certificate = await centre.collection.IssueCompletenessCertificate(issue)
            verdicts.add((number, certificate.verdict, certificate.record_count))
        complete = collection_service_pb2.COMPLETENESS_VERDICT_COMPLETE
        assert verdicts == {(LINE, complete, 1), (CABLE, complete, 1)}
        await channel.close()
