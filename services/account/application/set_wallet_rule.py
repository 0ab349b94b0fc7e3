"""Makes a version of a rule about wallets."""

from dataclasses import replace
from datetime import datetime
from typing import Generic, TypeVar

from libs.clock import Clock
from libs.errors import RequestMalformed
from libs.runtime.requests import RequestKey
from services.account.application.ports import Transaction
from services.account.domain.wallet_errors import HolderMismatch, RuleBackdated, WalletUseForbidden
from services.account.domain.wallet_rules import (
    Grant,
    GrantAction,
    Limits,
    Mandate,
    Rule,
    Version,
    WalletMember,
    rule_name,
    rule_scope,
)
from services.account.domain.wallets import Catalogue, HolderKind, purse_of

R = TypeVar("R", bound=Rule)


class SetWalletRule(Generic[R]):
    """SetGrant, SetParticipantRole, SetWalletMember, SetMandate: nothing is overwritten, a version is added."""

    def __init__(self, transaction: Transaction, catalogue: Catalogue, clock: Clock, cls: type[R]) -> None:
        self._transaction = transaction
        self._catalogue = catalogue
        self._clock = clock
        self._cls = cls

    async def __call__(
        self,
        rule: R,
        effective_time: datetime | None,
        until_time: datetime | None,
        set_by: str,
        request: RequestKey,
    ) -> Version[R]:
        """Add a version that counts from a moment on.

        Args:
            rule: What it says.
            effective_time: From when; None: from now.
            until_time: Not from then on; None: until a later version.
            set_by: Who says so.
            request: Claimed in the same transaction.

        Raises:
            RequestMalformed: It contradicts itself, or is about another kind or wallet than its versions before.
            RuleBackdated: It would begin before it is made.
            WalletKindUnknown, PurposeUnknown, WalletUnknown, WalletUseForbidden, HolderMismatch: It speaks of what is
                not there, or is not for that.
            RequestIdReused: The id was used for other content.
        """
        now = self._clock.now()
        begins = effective_time or now
        if until_time is not None and until_time <= begins:
            raise RequestMalformed(field="until_time", description="is not after the beginning")
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                number = await uow.requests.first_answer(request, int)
                return await uow.wallet_books.rules.get(self._cls, rule_name(rule), number)
            # Asked behind the claim: a repetition comes later than what it repeats.
            if begins < now:
                raise RuleBackdated(rule=rule_name(rule), effective_time=begins.isoformat(), now=now.isoformat())
            wallets = check_rule(rule, self._catalogue)
            if wallets:
                await uow.wallet_books.wallets.find(wallets)
            version = await uow.wallet_books.rules.add(Version(rule, 0, begins, until_time, now, set_by))
            if version.number > 1:
                # Rules are looked up by what they are about: a version about something else would leave the one before
                # it in force there.
                before = await uow.wallet_books.rules.get(self._cls, rule_name(rule), version.number - 1)
                if rule_scope(before.rule) != rule_scope(rule):
                    raise RequestMalformed(field="kind", description=f"is {rule_scope(before.rule)} for ever")
            await uow.requests.answer(request, version.number)
            await uow.commit()
        return version


class EndWalletRule(Generic[R]):
    """RevokeGrant, EndParticipantRole, RemoveWalletMember, EndMandate: a last version that lets nothing pass."""

    def __init__(self, transaction: Transaction, clock: Clock, cls: type[R]) -> None:
        self._transaction = transaction
        self._clock = clock
        self._cls = cls

    async def __call__(self, name: str, set_by: str, request: RequestKey) -> Version[R]:
        """End it from now on, later versions made before included; one that was ended is answered as it is.

        Raises:
            RuleUnknown: There is none.
            RequestIdReused: The id was used for other content.
        """
        async with self._transaction() as uow:
            rules = uow.wallet_books.rules
            if not await uow.requests.claim(request):
                return await rules.get(self._cls, name, await uow.requests.first_answer(request, int))
            version = await rules.get(self._cls, name)
            if not version.ended:
                now = self._clock.now()
                ended = replace(
                    version, effective_time=now, until_time=None, record_time=now, set_by=set_by, ended=True
                )
                version = await rules.add(ended)
            await uow.requests.answer(request, version.number)
            await uow.commit()
        return version


class ListWalletRules(Generic[R]):
    """Reads rules with their whole history; what was in force at a moment follows from it."""

    def __init__(self, transaction: Transaction, cls: type[R]) -> None:
        self._transaction = transaction
        self._cls = cls

    async def __call__(self, after: tuple[str, int], limit: int, scope: str, name: str) -> list[Version[R]]:
        """All versions behind (name, number); only of a scope (kind, participant, wallet) or name when given."""
        async with self._transaction() as uow:
            return await uow.wallet_books.rules.list_page(self._cls, after, limit, scope, name)


def check_rule(rule: Rule, catalogue: Catalogue) -> list[str]:
    """Let pass a rule that speaks of what the catalogue has; returns the wallets that must exist.

    Raises:
        RequestMalformed, WalletKindUnknown, PurposeUnknown, WalletUseForbidden, HolderMismatch: As the use case.
    """
    if isinstance(rule, Grant):
        return _check_grant(rule, catalogue)
    if isinstance(rule, WalletMember):
        kind = catalogue.kind_of(rule.wallet)
        if not kind.members:
            account = catalogue.account_of(rule.wallet)
            raise WalletUseForbidden(wallet=rule.wallet, account=account, kind=kind.code, use="members")
        if HolderKind.of(rule.member) is HolderKind.PARTICIPANT or rule.member == rule.wallet.partition(".")[2]:
            raise HolderMismatch(wallet=rule.wallet, kind=kind.code, holders="another card or person")
        return [rule.wallet]
    if isinstance(rule, Mandate):
        return _check_mandate(rule, catalogue)
    return []


def _check_grant(grant: Grant, catalogue: Catalogue) -> list[str]:
    kind = catalogue.kind(grant.kind)
    catalogue.check_purposes(frozenset(grant.purposes))
    forbidden = sorted(set(grant.purposes) - kind.purposes) if kind.purposes else []
    if forbidden or (grant.action is GrantAction.DEBIT and not kind.payee and not kind.rides):
        use = forbidden[0] if forbidden else grant.action.value
        raise WalletUseForbidden(wallet=grant.wallet, account=kind.number, kind=kind.code, use=use)
    whole = grant.limits == Limits(grant.limits.per_transaction_fen)
    if grant.action is GrantAction.CREDIT and not (whole and grant.share_bp == 10_000 and not grant.deductible_fen):
        raise RequestMalformed(field="limits", description="of a credit are per transaction only")
    if not grant.wallet:
        return []
    if catalogue.kind_of(grant.wallet) is not kind:
        raise RequestMalformed(field="wallet", description=f"is not of the kind {kind.code}")
    return [grant.wallet]


def _check_mandate(mandate: Mandate, catalogue: Catalogue) -> list[str]:
    kind = catalogue.kind_of(mandate.wallet)
    holder = mandate.wallet.partition(".")[2]
    on_card = kind.code == "purse"
    if (on_card and purse_of(holder) is None) or not (on_card or kind.loads_purse == "load"):
        account = catalogue.account_of(mandate.wallet)
        raise WalletUseForbidden(wallet=mandate.wallet, account=account, kind=kind.code, use="top_up")
    wallets = [] if on_card else [mandate.wallet]
    if mandate.source.startswith("wallets/"):
        source = mandate.source.removeprefix("wallets/")
        target = "pending" if on_card else kind.code
        if target not in catalogue.kind_of(source).moves_to or source == mandate.wallet:
            account = catalogue.account_of(source)
            raise WalletUseForbidden(wallet=source, account=account, kind=source.partition(".")[0], use=target)
        wallets.append(source)
    if mandate.day_cap_fen and mandate.amount_fen > mandate.day_cap_fen:
        raise RequestMalformed(field="day_cap_fen", description="does not leave a single top-up")
    return wallets
