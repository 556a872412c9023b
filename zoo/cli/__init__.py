"""The command `zoo`: `main` chooses the command and answers for errors, `arguments` reads its words.

The commands are in files by subject.
"""
