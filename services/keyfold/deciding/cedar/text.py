"""Cedar text before Cedar sees it: its statements, and a bound on how deep its expressions can go.

Cedar's parser recurses on the native stack: a few hundred nested brackets, or some thousand chained operators, in a
text of ordinary size end the process, and a command that ends the process would end it again at every restart. So
every text is measured here first. This is no parser; it knows strings, comments and brackets, as Cedar's lexer does.
"""

import re
from typing import Final, NamedTuple

from keyfold.events.errors import InvalidPolicy

MAX_TEXT_BYTES: Final = 32_768
MAX_STATEMENTS: Final = 100
MAX_BRACKETS: Final = 24
MAX_CHAIN: Final = 1_000

_TOKEN: Final = re.compile(r'[^\S\n]+|//[^\n\r]*|\n|"(?:\\.|[^"\\])*"|\w+|.', re.DOTALL)
_OPEN: Final = frozenset("([{")
_CLOSE: Final = frozenset(")]}")
_STRING: Final = re.compile(r'"(?:\\[^\n]|[^"\\])*"')  # as Cedar's: a backslash does not escape the end of a line


class Statement(NamedTuple):
    """One policy's text and the line that it starts on, from 1."""

    text: str
    line: int


class _Reader:
    """Follows brackets. `chains` counts, for each open bracket, the tokens since the last separator in it."""

    def __init__(self) -> None:
        self.chains = [0]
        self.line = 1
        self.begun: int | None = None
        self.statements: list[tuple[int, int, int]] = []

    def take(self, lexeme: str, at: int) -> None:
        if lexeme == "\n" or lexeme.isspace() or lexeme.startswith("//"):
            return
        self._measure(lexeme)
        if self.begun is None:
            self.begun = at
            self.statements.append((at, at, self.line))
        start, _, line = self.statements[-1]
        self.statements[-1] = (start, at + len(lexeme), line)
        if lexeme == ";" and len(self.chains) == 1:
            self.begun = None

    def _measure(self, lexeme: str) -> None:
        self.chains[-1] += 1
        if lexeme in _OPEN:
            self.chains.append(0)
        elif lexeme in _CLOSE and len(self.chains) > 1:
            self.chains.pop()
        elif lexeme == "," or (lexeme == ";" and len(self.chains) == 1):
            self.chains[-1] = 0
        if len(self.chains) > MAX_BRACKETS:
            raise InvalidPolicy(f"line {self.line}: brackets are nested deeper than {MAX_BRACKETS}; split the policy")
        if sum(self.chains) > MAX_CHAIN:
            raise InvalidPolicy(f"line {self.line}: the expression is too long; use a set, or split the policy")


def statements_of(text: str) -> tuple[Statement, ...]:
    """Split a text into its statements. Raises `InvalidPolicy` for what is too large or too deep to be parsed."""
    if len(text) > MAX_TEXT_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise InvalidPolicy(f"the policy text is larger than {MAX_TEXT_BYTES} bytes; split it")
    reader = _Reader()
    for match in _TOKEN.finditer(text):
        lexeme = match.group()
        if lexeme[0] == '"' and _STRING.fullmatch(lexeme) is None:
            raise InvalidPolicy(f"line {reader.line}: a string is not closed, or a line end is escaped in it")
        reader.take(lexeme, match.start())
        reader.line += lexeme.count("\n")
    if len(reader.statements) > MAX_STATEMENTS:
        raise InvalidPolicy(f"a text holds at most {MAX_STATEMENTS} statements; split it")
    return tuple(Statement(text[start:end], line) for start, end, line in reader.statements)
