"""What keeps the notary from signing.

KeyfoldError
├── LogContradictsHead   the log is not what was signed of it: that partition is never signed again
├── LogEndsEarly         the log has fewer records than were signed of it: they were lost, or are not there yet
├── HeadsUnusable        what the token keeps of the tree heads cannot be read, or is not what was published
└── Unavailable
    └── HeadsMoved       the token keeps later tree heads than these

Gaps in an author's chain are `ChainGap` (`keyfold.events.chains`), a log that begins too late `PositionLost`
(`keyfold.bus`), a certificate that has ended `NotCertified` (`keyfold.log`, retriable).
"""

from keyfold.events.errors import KeyfoldError, Unavailable


class LogContradictsHead(KeyfoldError):
    """The records of a partition do not have the root that was signed or kept of so many of them."""

    code = "LogContradictsHead"

    def __init__(self, partition: int, size: int) -> None:
        self.partition, self.size = partition, size
        super().__init__(
            f"the first {size} records of keyfold.events partition {partition} are not those that were signed before: "
            "the log was changed, or the notary's token is of another log; compare both with a witness or an archive, "
            "and restore the log"
        )


class LogEndsEarly(KeyfoldError):
    """A log that ends before its signed head; it is read on, and signed again only when it has reached it."""

    code = "LogEndsEarly"

    def __init__(self, partition: int, size: int, signed: int) -> None:
        self.partition, self.size, self.signed = partition, size, signed
        super().__init__(
            f"keyfold.events partition {partition} has {size} records, but {signed} were signed: records were lost; "
            "compare the log with a witness or an archive, and restore it"
        )


class HeadsUnusable(KeyfoldError):
    """The tree heads in the token are malformed, or contradict each other or the published ones."""

    code = "HeadsUnusable"


class HeadsMoved(Unavailable):
    """Another process writes tree heads into the same token; everything is restored."""

    code = "HeadsMoved"

    def __init__(self) -> None:
        super().__init__("the token keeps later tree heads than these: another notary is at work with it")
