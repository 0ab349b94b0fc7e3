"""A fleet of terminals with everything that goes wrong in a day: lines, clocks, batteries, duplicates, old programs."""
