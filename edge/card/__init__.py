"""`citycard card`: looking into cards, talking to them, making and running virtual ones."""
