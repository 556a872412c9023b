"""What the command `zoo` does, subject by subject; `zoo.cli` reads the words and answers for errors."""
