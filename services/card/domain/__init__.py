"""Rules of cards, products, stock and loads: plain Python, no input or output."""
