"""The one place that meets PKCS#11: loading a module, creating and opening tokens, keys that stay inside, the probe.

It knows how keys are kept from leaving a token; it does not know what they protect (`keyfold.custody` does).
Everything is synchronous and may be called from any thread.
"""

from keyfold.events.errors import TokenUnavailable
from keyfold.token import data_objects
from keyfold.token.creation import create_token
from keyfold.token.errors import (
    ActionRefused,
    DataRefused,
    HandleLost,
    ModuleUnusable,
    PinExpired,
    PinIncorrect,
    PinLocked,
    PinUnusable,
    SessionLimit,
    TokenError,
    TokenExists,
    TokenKeyMissing,
    TokenKeyUntrusted,
    TokenLost,
    TokenMissing,
    TokenReplaced,
)
from keyfold.token.identity import TokenSigner, create_signing_identity
from keyfold.token.module import Module, load_module
from keyfold.token.probe import ProbeReport, probe
from keyfold.token.session import Session, Token, open_token

__all__ = [
    "ActionRefused",
    "DataRefused",
    "HandleLost",
    "Module",
    "ModuleUnusable",
    "PinExpired",
    "PinIncorrect",
    "PinLocked",
    "PinUnusable",
    "ProbeReport",
    "Session",
    "SessionLimit",
    "Token",
    "TokenError",
    "TokenExists",
    "TokenKeyMissing",
    "TokenKeyUntrusted",
    "TokenLost",
    "TokenMissing",
    "TokenReplaced",
    "TokenSigner",
    "TokenUnavailable",
    "create_signing_identity",
    "create_token",
    "data_objects",
    "load_module",
    "open_token",
    "probe",
]
