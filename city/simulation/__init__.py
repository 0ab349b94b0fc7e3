"""A city's day without a city: who rides when, and the taps themselves, made by virtual cards and terminals."""
