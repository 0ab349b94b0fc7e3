"""Keys that everybody knows (purse-crypto.md, section 10): those of the published test vectors, and trivial ones.

Only digests stand here, so that no key is spelled out in the code. DES ignores the lowest bit of every byte, hence it
is cleared before the digest: a key that differs in parity only is the same key.
"""

import hashlib

PUBLIC_KEY_DIGESTS = frozenset(
    {
        "049685a5f87f1025d882c0ffb505ad7cca17a70de30f0b53e075992462635513",
        "0a0ff0e4865f0e78ea76c525bad75ddbdb8127e90f4c9339802504597528188a",
        "10d87a1e9ebe76bf9a4b77489f0b663ceaed12bf846cd8b7c3a6f272b0aa90f5",
        "1e5f862b8bf5f7486a8c32451cd68fa2f58dacc37f1156939137ab12a7010a23",
        "271ebbe339693f29b038e375f0e2c49fedcf44838ce8e1a0bb3136eddbea5999",
        "3baca4c3caeea9875fb2764eb6fa1fa97d306cb6512a010300b14b2e6fad75b6",
        "3cf817e25b6559874f9b416740959e5051c3b91a26f3434d8b69d8237605a817",
        "40ec984937d8e516f6c89b661b629ae45d49cf45a0d5fc3ffa6e6ae1e5a1b803",
        "4785dd07029a33c34e7b43ce3710ea6504d07bc7863fb45c9c4f1022dd9b8e85",
        "586fd145a7f1db2f500fc7cade0f799ea41083cfa1739c8788eda7c78bd35e4c",
        "58e681b47838ca4a089ae5d0e60031aa7534e7ed05d7335a38c6583ef9ed7332",
        "59ac7b2c57df60ad6db192518a63b73aa7409280e7ae8fa86c917bfdc6452a25",
        "639015a54bd43d4838bf3c70a3f6179b79ca0b56843623fde4719a4805dc721b",
        "661e4c6c871ae088bec07e3b9067043a012180c0548b44b163486bddc7959852",
        "6a58aa155f784bac3c226e996a9bb4156c5aae2fa11768643b9ba74a60618aac",
        "6bca22e0747bca0341017378faa59492d526eca98640d87d371c4b54302b187c",
        "6cda3bdf023ff98039f733e43f423a87425d4c95c661fd82cef4d23bd8637d94",
        "76558726c61f7e995bbac128f933fd78542b08473cc48c8f55329f5251b93817",
        "840e2627fde709bed8ddbf4d9fbf014778a5a849828d940066e60fdc08d59999",
        "8ae4e99a18f5c408d843b6b00246a661c896b2d8eca57520709e5fe74f26a79f",
        "8beec0a9082aaf30b4dd327d72fa6e70ebf923adb4192c7ddb220b34870dbeab",
        "8ebe1d2a14b53107f6250c4a42c886dff32bab207833b0c291445bcf145a2122",
        "9b343beaea5682e5a68ce8625384bbc131d2f40ab62410dd22e406190324e111",
        "9bf4df84f369296d6a777f3cd18b00fddc31cce1bf1c8ab4b89ca41062a2676b",
        "b3e8da2ce9a90356afa65e28d91e24ff17ffd12d6f10d46b413d4c7bbcdeda39",
        "bceecce86ba4229bda7c43253fc3c60572ef1d89bc84cf9473acc79c9ae09519",
        "cb0f87229834c7612227caeac1597629e1cfc60941c3cc4b508e84658363f5e8",
        "cfb5992f33a1b8a263992e0db75f5c291cfb31325d60f7f8ebce1effcceb41a3",
        "d5cbab5de44f4dcf367d301b382f8ce5ecf1d68f46f05f6a8503964fdb634f92",
        "e1cdfa7aa84b722d2860218dc6977f8fd4b6ab37a18a16c952821868607fe84d",
        "e92b90d3f5a1714a0f5908f36ab3c13dc3f3d8715d704827e084498aac1a87a3",
        "eac80bb1928894a5d2819b5bbb5c83e25a7160178845289e9533fcc2c59d34af",
        "ee1e2535f1b9004fb59c77c6330cc350409b5c9383166ebe378119325f07c799",
    }
)


def parity_free_digest(key: bytes) -> str:
    """SHA-256 (hex) of a key with the lowest bit of every byte cleared."""
    return hashlib.sha256(bytes(byte & 0xFE for byte in key)).hexdigest()


def is_public(key: bytes) -> bool:
    """True for a key of the test vectors, and for one that repeats a single byte."""
    return len({byte & 0xFE for byte in key}) == 1 or parity_free_digest(key) in PUBLIC_KEY_DIGESTS
