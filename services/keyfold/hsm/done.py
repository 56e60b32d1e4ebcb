"""What a control verb comes to: its outcome, what goes with it, and what the caller is told."""

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

from keyfold.events import facts


@dataclass(frozen=True, slots=True)
class Done:
    """The outcome's type and own fields, what goes with it, and the summary that the caller gets.

    With `code` it is a failure that changes the keystore nevertheless; its outcome is `OperationFailed`.
    """

    outcome: type[facts.Outcome]
    fields: dict[str, Any] = field(default_factory=dict)
    events: tuple[facts.Event, ...] = ()
    stored: tuple[facts.Event, ...] = ()
    summary: dict[str, Any] = field(default_factory=dict)
    code: str | None = None


def text_of(data: bytes) -> str:
    """Return bytes as they stand in documents: base64."""
    return b64encode(data).decode("ascii")


def ceased(key_id: str, erased: list[int], stored: tuple[facts.Event, ...] = ()) -> Done:
    """The worker has passed a command that ends or narrows a key's use."""
    fields = {"key_id": key_id, "erased_versions": erased}
    return Done(facts.KeyUseCeased, fields, stored=stored, summary={"key_id": key_id})
