"""Skeleton; being filled in."""


def validate_policy(text: str) -> None:
    """Refuse a text that must not be put. Raises `InvalidPolicy`."""
    raise NotImplementedError
