"""The card service: registry and life cycle of cards, stock, load authorisation."""
