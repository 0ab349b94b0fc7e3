"""Schema of the card service's database."""
