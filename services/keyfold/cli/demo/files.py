"""Which files the demonstration protects, where their envelopes and copies lie, and whether they came back whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from keyfold.cli.exits import UsageError
from keyfold.cli.session import checkout
from keyfold.client.envelope import FileJob

MAX_FILES: Final = 2000
_DEFAULTS: Final = ("README.md", "docs")


@dataclass(frozen=True, slots=True)
class Document:
    """One file to protect. `name` is its place below what was given, and part of its encryption context."""

    path: Path
    name: str
    digest: str
    size: int

    @property
    def context(self) -> dict[str, str]:
        """The encryption context: public, authenticated."""
        return {"file": self.name, "purpose": "demo"}


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run keeps what it makes."""

    home: Path

    def encrypted(self, document: Document) -> Path:
        """Where a document's envelope lies."""
        return self.home / "encrypted" / f"{document.name}.kf"

    def decrypted(self, document: Document) -> Path:
        """Where the document comes back."""
        return self.home / "decrypted" / document.name

    def encryption(self, document: Document) -> FileJob:
        """The job that protects a document."""
        target = self.encrypted(document)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileJob(document.path, target, document.context)

    def decryption(self, document: Document) -> FileJob:
        """The job that brings it back."""
        target = self.decrypted(document)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileJob(self.encrypted(document), target, document.context)


def choose(paths: Sequence[Path]) -> list[Document]:
    """Return the files to protect: those given (directories with all that is in them), else the project's documents.

    Raises `UsageError` where there is nothing to protect.
    """
    roots = [path.expanduser().absolute() for path in paths] or _own_documents()
    found: dict[Path, Document] = {}
    for root in roots:
        if not root.exists():
            raise UsageError(f"there is no {root}")
        for path in _files(root):
            found.setdefault(path, _document(path, root))
    if not found:
        raise UsageError("there are no files to protect; name some: keyfold demo PATH…")
    if len(found) > MAX_FILES:
        raise UsageError(f"{len(found)} files are too many for a demonstration; name fewer than {MAX_FILES}")
    return _distinct(list(found.values()))


def differing(documents: Sequence[Document], places: Places) -> list[str]:
    """Return the names of documents that did not come back byte for byte."""
    return [document.name for document in documents if not _same(document.path, places.decrypted(document))]


def _own_documents() -> list[Path]:
    root = checkout()
    found = [root / name for name in _DEFAULTS if (root / name).exists()] if root else []
    if not found:
        raise UsageError("this installation has no documents of its own; name files: keyfold demo PATH…")
    return found


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and not any(part.startswith(".") for part in path.parts[-3:]):
            yield path


def _document(path: Path, root: Path) -> Document:
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    name = path.name if root.is_file() else str(Path(root.name) / path.relative_to(root))
    return Document(path, name, digest.hexdigest(), path.stat().st_size)


def _distinct(documents: list[Document]) -> list[Document]:
    """Two paths may end alike: number them, so that no envelope overwrites another."""
    seen: dict[str, int] = {}
    result = []
    for document in documents:
        count = seen[document.name] = seen.get(document.name, 0) + 1
        name = document.name if count == 1 else f"{count}-{document.name}"
        result.append(Document(document.path, name, document.digest, document.size))
    return result


def _same(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            a, b = left.read(1 << 20), right.read(1 << 20)
            if a != b:
                return False
            if not a:
                return True
