"""Meters of electricity (DL/T 645), water and gas (CJ/T 188): their frames, their readings, their records."""
