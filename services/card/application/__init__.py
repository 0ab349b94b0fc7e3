"""Use cases of the card service, one module per verb."""
