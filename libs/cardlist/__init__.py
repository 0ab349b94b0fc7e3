"""Exact compact card lists: about a byte a card, signed, looked up as they lie."""

from libs.cardlist.columns import Columns
from libs.cardlist.entries import ANY_GENERATION, ENTRY, SETTLED, Action, Entries
from libs.cardlist.errors import DeltaMisfit, EntryInvalid, Fault, ListRefused
from libs.cardlist.header import MAGIC, Form, Header, Point, Purpose
from libs.cardlist.index import CardIndex, Found
from libs.cardlist.lists import CardList, apply_delta, encode_change, encode_delta, encode_list
from libs.cardlist.rows import Issuer, IssuerList, NumberRange, RangeList, encode_issuers, encode_ranges
from libs.cardlist.signing import EcdsaSigner, EcdsaVerifier, Signer, Verifier

__all__ = [
    "ANY_GENERATION",
    "ENTRY",
    "MAGIC",
    "SETTLED",
    "Action",
    "CardIndex",
    "CardList",
    "Columns",
    "DeltaMisfit",
    "EcdsaSigner",
    "EcdsaVerifier",
    "Entries",
    "EntryInvalid",
    "Fault",
    "Form",
    "Found",
    "Header",
    "Issuer",
    "IssuerList",
    "ListRefused",
    "NumberRange",
    "Point",
    "Purpose",
    "RangeList",
    "Signer",
    "Verifier",
    "apply_delta",
    "encode_change",
    "encode_delta",
    "encode_issuers",
    "encode_list",
    "encode_ranges",
]
