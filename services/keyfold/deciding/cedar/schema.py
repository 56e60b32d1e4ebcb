"""The published schema, as text and parsed. It is read once, from the package, when this is imported."""

from importlib.resources import files
from typing import Final

from cedarpy import Schema

SCHEMA_TEXT: Final = files(__package__).joinpath("schema.cedarschema").read_text("utf-8")
SCHEMA: Final = Schema.from_str(SCHEMA_TEXT)
