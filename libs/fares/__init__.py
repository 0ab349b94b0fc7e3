"""Fares and discounts as data (docs/domain/card-lifecycle-and-fares.md, section 4): pure integer arithmetic in fen."""
