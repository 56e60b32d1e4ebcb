"""The worker's two tokens, `kms` and `seal`, as the watch sees them: checked together, opened again together.

A library finds its tokens only when it is initialised, so both are opened again where one is lost. The order counts:

 1. both are lost from now on, for whoever still asks;
 2. open handles are forgotten, while nothing can be destroyed through them any more;
 3. the library is initialised anew, and each token is opened, if it is the same by its serial number;
 4. its own keys are found and probed again, as at the start of the process.

Nobody uses the tokens meanwhile (`TokenWatch.using`): afterwards, the number of an old handle may be another key's.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final

from keyfold.config import Config, export_softhsm2_conf
from keyfold.custody import Custody, HandleCache, SealingKeys
from keyfold.hsm.errors import ProbeFailed
from keyfold.logging import get_logger
from keyfold.token import Module, PinIncorrect, ProbeReport, Token, load_module, open_token

_PIN_LOOK_S: Final = 2.0
_log = get_logger()


class WorkerTokens:
    """Implements `keyfold.hsm.watch.Tokens`. `attach` finds the tokens' own keys again, and probes them."""

    def __init__(
        self, module: Module, tokens: Sequence[Token], forget: Callable[[], None], attach: Callable[[], None]
    ) -> None:
        self._module, self._tokens, self._forget, self._attach = module, tokens, forget, attach

    @property
    def is_lost(self) -> bool:
        """Whether one of them is."""
        return any(token.is_lost for token in self._tokens)

    @property
    def sessions(self) -> tuple[int, int]:
        """Of the smallest pool."""
        return min((token.sessions, token.pool_size) for token in self._tokens)

    def check(self) -> float:
        """Check both, and ask for sessions that were denied before; return the longer answer's seconds."""
        longest = max(token.check() for token in self._tokens)
        for token in self._tokens:
            token.grow()
        return longest

    def reopen(self) -> None:
        """Open both again. Where it fails, both stay lost, and it may be tried again."""
        for token in self._tokens:
            token.lose()
        self._forget()
        self._module.reinitialize()
        try:
            for token in self._tokens:
                token.reopen()
            self._attach()
        except BaseException:
            for token in self._tokens:
                token.lose()
            raise


def worker_tokens(kms: Token, seal: Token, custody: Custody, sealing: SealingKeys, cache: HandleCache) -> WorkerTokens:
    """Return what the watch of a worker process watches."""

    def attach() -> None:
        custody.attach()
        require("kms", custody.probe())
        require("seal", sealing.probe())

    return WorkerTokens(kms.module, (kms, seal), cache.clear, attach)


async def open_tokens(config: Config, stack: ExitStack) -> tuple[Token, Token]:
    """Open the tokens `kms` and `seal`; they are closed with the stack.

    Where a PIN is refused, it waits for a PIN file with other content: a process that ended would be started again,
    and every start would bring the token nearer to being locked.
    """
    export_softhsm2_conf(config)
    module = load_module(config.pkcs11_module)
    kms, seal = [stack.enter_context(await _open(config, module, label)) for label in ("kms", "seal")]
    return kms, seal


async def _open(config: Config, module: Module, label: str) -> Token:
    told = False
    while True:
        try:
            return open_token(module, label, config.pins_directory / label, pool_size=config.session_pool_size)
        except PinIncorrect as error:
            if not told:
                _log.error("token-pin-refused", token=label, code=error.code, reason=str(error))
            told = True
            await asyncio.sleep(_PIN_LOOK_S)


def require(token: str, report: ProbeReport) -> None:
    """Refuse to serve with a token that allows any deviation. Raises `ProbeFailed`."""
    if not report.ok:
        raise ProbeFailed(token, report)
