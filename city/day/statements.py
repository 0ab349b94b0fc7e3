"""Statements as files: fetched from clearing, verified with nothing but a public key."""

import asyncio
from datetime import date
from pathlib import Path

import grpc
from citycard.clearing.v1 import statement_service_pb2 as pb
from citycard.clearing.v1.statement_service_pb2_grpc import StatementServiceStub
from google.protobuf.message import DecodeError

from libs.statements import Finding, read_public_key, verify, verify_chain

KEY_FILE = "signing-key.pem"
_FORMS = {
    "st": pb.STATEMENT_FORM_ST,
    "csv": pb.STATEMENT_FORM_CSV,
    "xlsx": pb.STATEMENT_FORM_XLSX,
}


async def fetch_statement(channel: grpc.aio.Channel, participant: str, day: date, folder: Path) -> list[Path]:
    """Write `{participant}-{YYYYMMDD}.signed.pb` and its files, and the public key if none lies there.

    Returns:
        What was written.
    """
    stub = StatementServiceStub(channel)
    name = f"participants/{participant}/statements/{day:%Y%m%d}"
    signed = await stub.GetSignedStatement(pb.GetSignedStatementRequest(name=name))
    stem = f"{participant}-{day:%Y%m%d}"
    contents = {f"{stem}.signed.pb": signed.SerializeToString(deterministic=True)}
    for suffix, form in _FORMS.items():
        parts = [part.data async for part in stub.GetStatementFile(pb.GetStatementFileRequest(name=name, form=form))]
        contents[f"{stem}.{suffix}"] = b"".join(parts)
    key = (await stub.GetSigningKey(pb.GetSigningKeyRequest())).public_key_pem.encode()
    return await asyncio.to_thread(_write, folder, contents, key)


def _write(folder: Path, contents: dict[str, bytes], key: bytes) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / KEY_FILE).exists():
        # A key that somebody laid there is not replaced: it may have come another way, as it should.
        contents = {**contents, KEY_FILE: key}
    for file, content in contents.items():
        # Written beside and renamed: a torn file would look like a forged one.
        fresh = folder / f".{file}.new"
        fresh.write_bytes(content)
        fresh.replace(folder / file)
    return [folder / file for file in contents]


def verify_folder(folder: Path, key_file: Path) -> tuple[int, list[Finding]]:
    """Verify every signed statement of a folder, the files beside it, and the chain of each participant.

    Returns:
        How many there are, and everything that is wrong.

    Raises:
        OSError: The key cannot be read.
        ValueError: It is no key.
    """
    key = read_public_key(key_file.read_bytes())
    findings: list[Finding] = []
    by_participant: dict[str, list[pb.StatementDocument]] = {}
    files = sorted(folder.glob("*.signed.pb"))
    for file in files:
        try:
            signed = pb.SignedStatement.FromString(file.read_bytes())
        except DecodeError:
            findings.append(Finding(file.name, "DOCUMENT"))
            continue
        stem = file.name.removesuffix(".signed.pb")
        beside = {suffix: folder / f"{stem}.{suffix}" for suffix in ("st", "csv")}
        st_file, csv_file = (one.read_bytes() if one.exists() else None for one in beside.values())
        document, wrong = verify(signed, key, st_file, csv_file)
        findings += [Finding(one.name or file.name, one.fault) for one in wrong]
        if document is not None:
            by_participant.setdefault(document.name.split("/statements/")[0], []).append(document)
    for documents in by_participant.values():
        findings += verify_chain(documents)
    return len(files), findings
