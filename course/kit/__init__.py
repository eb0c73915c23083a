"""What all topics share: the board, explorers, checks of exercises, self-tests, pictures."""
