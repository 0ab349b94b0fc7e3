"""The demo: a city from nothing to a proven day, through public RPCs only."""
