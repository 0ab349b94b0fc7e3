"""The reference terminal, first floor: a card and a security module make a record offline, a journal keeps it."""
