"""`citycard ledger`: the books as an accountant reads them, through public calls only."""
