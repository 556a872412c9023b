"""The command `zoo`: `main` reads the words and answers for errors, the other files hold the commands by subject."""
