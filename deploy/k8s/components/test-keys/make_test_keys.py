"""Writes the key file of a test deployment: public test keys, the same in every pod, sealed with a passphrase."""

import secrets
from pathlib import Path

from libs.keystore.dev import create_test_keystore
from libs.keystore.sealed import Passphrase
from libs.purse.scheme import Scheme

# The seed and the issuer of the local city (city/keys.py): its cards and terminals work here too.
SEED = "citycard local city"
ISSUER = bytes.fromhex("01005840FFFFFFFF")
FOLDER = Path("/run/citycard/keys")

passphrase = secrets.token_urlsafe(32).encode()
create_test_keystore(FOLDER / "keys.sealed", Passphrase(passphrase), SEED, [(scheme, ISSUER) for scheme in Scheme])
(FOLDER / "passphrase").write_bytes(passphrase)
# All pods must read each other's rows: this one cannot be random, and it protects nobody real.
(FOLDER / "holder.key").write_bytes(b"citycard test holders: not a secret at all")
