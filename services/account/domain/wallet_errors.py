"""Every way in which a wallet says no; the reasons are the service's ErrorReason enum."""

from libs.errors import Forbidden, InvalidInput, NotFound, Refusal


class WalletKindUnknown(NotFound):
    """The catalogue has no such kind. Fact: `kind`."""

    reason = "WALLET_KIND_UNKNOWN"


class WalletUnknown(NotFound):
    """There is no such wallet. Fact: `wallet`."""

    reason = "WALLET_UNKNOWN"


class HolderMismatch(InvalidInput):
    """Wallets of this kind belong to others. Facts: `wallet`, `kind`, `holders`."""

    reason = "HOLDER_MISMATCH"


class PurposeUnknown(NotFound):
    """The catalogue has no such purpose. Fact: `purpose`."""

    reason = "PURPOSE_UNKNOWN"


class WalletAccountUsed(Refusal):
    """The account moved before it became a wallet whose parts are counted. Facts: `wallet`, `account`."""

    reason = "WALLET_ACCOUNT_USED"


class WalletControlled(Refusal):
    """The account is a wallet: only the wallet's own calls may do this. Fact: `account`."""

    reason = "WALLET_CONTROLLED"


class WalletStateForbids(Refusal):
    """The wallet is frozen or closed. Facts: `wallet`, `account`, `state`."""

    reason = "WALLET_STATE_FORBIDS"


class WalletNotEmpty(Refusal):
    """A wallet with something in it is not closed. Facts: `wallet`, `account`, `balance_fen`, `held_fen`."""

    reason = "WALLET_NOT_EMPTY"


class WalletAssetMismatch(InvalidInput):
    """The wallets of one debit count in different units. Facts: `wallet`, `account`, `asset`, `other_asset`."""

    reason = "WALLET_ASSET_MISMATCH"


class WalletUseForbidden(Refusal):
    """Wallets of this kind are not for that. Facts: `wallet`, `account`, `kind`, `use`."""

    reason = "WALLET_USE_FORBIDDEN"


class SourceForbidden(InvalidInput):
    """Wallets of this kind are not filled from there. Facts: `wallet`, `account`, `source`."""

    reason = "SOURCE_FORBIDDEN"


class ValidityMismatch(InvalidInput):
    """Validity or earmark does not fit the kind. Facts: `wallet`, `kind`, `rule`."""

    reason = "VALIDITY_MISMATCH"


class GrantMissing(Forbidden):
    """No grant in force permits it. Facts: `participant`, `wallet`, `account`, `action`, `purpose`."""

    reason = "GRANT_MISSING"


class MemberUnknown(Refusal):
    """The card or person does not share this wallet now. Facts: `wallet`, `account`, `member`."""

    reason = "MEMBER_UNKNOWN"


class WalletLimitExceeded(Refusal):
    """A limit of a grant or member does not cover the amount.

    Facts: `wallet`, `account`, `limit` (whose and which), `limit_fen`, `used_fen`, `amount_fen`.
    """

    reason = "WALLET_LIMIT_EXCEEDED"


class WalletInsufficient(Refusal):
    """The wallet does not hold the amount for this purpose now.

    Facts: `wallet`, `account`, `balance_fen`, `held_fen`, `available_fen`, `amount_fen`.
    """

    reason = "WALLET_INSUFFICIENT"


class PassNotInForce(Refusal):
    """No pass of the wallet is in force. Facts: `wallet`, `account`, `purpose`."""

    reason = "PASS_NOT_IN_FORCE"


class TenderShort(Refusal):
    """All wallets together do not bear the amount. Facts: `wallets`, `amount_fen`, `covered_fen`, `short_fen`."""

    reason = "TENDER_SHORT"


class DebitUnknown(NotFound):
    """There is no such debit. Fact: `debit`."""

    reason = "DEBIT_UNKNOWN"


class DebitNotReversible(Refusal):
    """The debit is held, given up, or no payment. Facts: `debit`, `state`, `purpose`."""

    reason = "DEBIT_NOT_REVERSIBLE"


class ReversalAboveDebit(Refusal):
    """More was to be given back than is left of the debit. Facts: `debit`, `left_fen`, `amount_fen`."""

    reason = "REVERSAL_ABOVE_DEBIT"


class RuleUnknown(NotFound):
    """There is no such grant, role, member or mandate. Fact: `rule`."""

    reason = "RULE_UNKNOWN"


class RuleBackdated(InvalidInput):
    """A rule cannot begin before it is made. Facts: `rule`, `effective_time`, `now`."""

    reason = "RULE_BACKDATED"


class TopUpUnknown(NotFound):
    """There is no such top-up. Fact: `top_up`."""

    reason = "TOP_UP_UNKNOWN"


class TopUpResolved(Refusal):
    """The top-up has ended the other way. Facts: `top_up`, `state`."""

    reason = "TOP_UP_RESOLVED"
