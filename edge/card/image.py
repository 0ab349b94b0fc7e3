"""A virtual card as a file: what a chip keeps in its memory, keys included, hence mode 0600 and test keys only."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from libs.errors import InvalidInput
from libs.purse.card import BANK, CJ, JT, Application, CardKeys, KeyUse, OtherKey, Profile, PurseState, VirtualCard
from libs.purse.card.files import Content
from libs.purse.card.state import Block, Guard

_FORMAT = "citycard virtual card 1"
_PROFILES: dict[str, Profile] = {"cj": CJ, "jt": JT, "bank": BANK}


class ImageMalformed(InvalidInput):
    """A file is no virtual card. Facts: `file`, `why`."""

    reason = "CARD_IMAGE_MALFORMED"


def save(card: VirtualCard, path: Path) -> None:
    """Write a card, atomically, mode 0600."""
    document = {
        "format": _FORMAT,
        "blocked": card.blocked,
        "applications": [_application_to_json(each) for each in card.applications],
    }
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file, indent=1)
    temporary.replace(path)


def load(path: Path) -> VirtualCard:
    """Read a card.

    Raises:
        ImageMalformed: Not a file of `save`.
    """
    try:
        document = json.loads(path.read_text())
        if document["format"] != _FORMAT:
            raise ImageMalformed(file=path.name, why="another format")
        card = VirtualCard([_application_from_json(each) for each in document["applications"]])
        card.blocked = bool(document["blocked"])
    except OSError as error:
        raise ImageMalformed(file=path.name, why=error.strerror) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ImageMalformed(file=path.name, why=f"{type(error).__name__} {error}") from error
    return card


def _application_to_json(application: Application) -> dict[str, Any]:
    keys, guard = application.keys, application.guard
    return {
        "profile": next(name for name, profile in _PROFILES.items() if profile is application.profile),
        "keys": {
            **{name: getattr(keys, name).hex() for name in ("purchase", "load", "tac", "maintenance")},
            "lock": keys.lock.hex() if keys.lock else None,
            "version": keys.version,
            "algorithm_id": keys.algorithm_id,
            "index": keys.index,
            "others": [
                [int(use), index, key.key.hex(), key.follow_state, key.tries]
                for (use, index), key in keys.others.items()
            ],
        },
        "purse": _purse_to_json(application.purse),
        "deposit": _purse_to_json(application.deposit) if application.deposit else None,
        "guard": {
            "pin": guard.pin.hex(),
            "pin_tries": guard.pin_tries,
            "unblock_tries": guard.unblock_tries,
            "block": int(guard.block),
            "key_tries": [[int(use), index, tries] for (use, index), tries in guard.key_tries.items()],
        },
        "files": {str(sfi): _content_to_json(content) for sfi, content in application.contents.items()},
    }


def _application_from_json(said: dict[str, Any]) -> Application:
    keys, guard = said["keys"], said["guard"]
    application = Application(
        _PROFILES[said["profile"]],
        CardKeys(
            **{name: bytes.fromhex(keys[name]) for name in ("purchase", "load", "tac", "maintenance")},
            lock=bytes.fromhex(keys["lock"]) if keys["lock"] else None,
            version=keys["version"],
            algorithm_id=keys["algorithm_id"],
            index=keys["index"],
            others={
                (KeyUse(use), index): OtherKey(bytes.fromhex(key), follow_state, tries)
                for use, index, key, follow_state, tries in keys["others"]
            },
        ),
        _purse_from_json(said["purse"]),
        bytes.fromhex(guard["pin"]),
        {int(sfi): _content_from_json(content) for sfi, content in said["files"].items()},
        _purse_from_json(said["deposit"]) if said["deposit"] else None,
    )
    application.commit(
        guard=Guard(
            bytes.fromhex(guard["pin"]),
            guard["pin_tries"],
            guard["unblock_tries"],
            Block(guard["block"]),
            {(KeyUse(use), index): tries for use, index, tries in guard["key_tries"]},
        )
    )
    return application


def _purse_to_json(purse: PurseState) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(purse).items()}


def _purse_from_json(said: dict[str, Any]) -> PurseState:
    return PurseState(
        balance_fen=said["balance_fen"],
        online_counter=said["online_counter"],
        offline_counter=said["offline_counter"],
        overdraft_limit_fen=said["overdraft_limit_fen"],
        log=bytes.fromhex(said["log"]),
        proof_of=bytes.fromhex(said["proof_of"]),
        proof=bytes.fromhex(said["proof"]),
    )


def _content_to_json(content: Content) -> str | list[str]:
    return content.hex() if isinstance(content, bytes) else [record.hex() for record in content]


def _content_from_json(said: str | list[str]) -> Content:
    return bytes.fromhex(said) if isinstance(said, str) else tuple(bytes.fromhex(record) for record in said)
