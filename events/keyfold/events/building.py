"""Building the validators of all documents before the first one comes.

A model builds its validator at its first use (`defer_build` of `Frozen`): a program that meets three of hundreds of
models starts in half the time. A service would pay for that with its first commands, so it builds all before it serves.
"""

from pydantic import BaseModel

from keyfold.events.strictjson import Frozen


def build_models(base: type[BaseModel] = Frozen) -> None:
    """Build every model that is derived from `base`, where it is not built yet: about 0.2 s for all."""
    for model in base.__subclasses__():
        model.model_rebuild()
        build_models(model)
