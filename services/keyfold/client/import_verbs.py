"""Verbs about keys whose material comes from outside (origin EXTERNAL).

An import has three steps: the service makes a wrapping key (`get_parameters_for_import`), the material is wrapped for
it (`keyfold.client.importing`, also on another machine), and the wrapped material is imported (`import_key_material`).
`import_key` takes all three. What may be raised is in `control` and `using`; besides `ImportTokenInvalid`,
`ImportTokenExpired`, `IncorrectKeyMaterial`, and `InvalidCiphertext` for what does not unwrap.
"""

from typing import Literal, Unpack, overload

from keyfold.client.arguments import When, arguments_text, moment
from keyfold.client.contexts import EMPTY
from keyfold.client.control import Control, Options, Sending
from keyfold.client.core import item_bytes
from keyfold.client.importing import wrap_key_material
from keyfold.client.material import KeyMaterial
from keyfold.client.results import Completed, DryRun, ImportParameters, completed, dry_run_of, import_parameters
from keyfold.client.using import Use, Using
from keyfold.events.arguments import DeletionCause
from keyfold.events.specs import WrappingAlgorithm, WrappingKeySpec


class _Wrapping(Sending, total=False):
    version: int | None
    wrapping_algorithm: WrappingAlgorithm
    wrapping_key_spec: WrappingKeySpec


class ImportVerbs(Control, Using):
    """GetParametersForImport, ImportKeyMaterial and DeleteImportedKeyMaterial."""

    @overload
    async def get_parameters_for_import(
        self, key: str, *, dry_run: Literal[False] = False, **wrapping: Unpack[_Wrapping]
    ) -> ImportParameters: ...

    @overload
    async def get_parameters_for_import(
        self, key: str, *, dry_run: Literal[True], **wrapping: Unpack[_Wrapping]
    ) -> DryRun: ...

    @overload
    async def get_parameters_for_import(
        self, key: str, *, dry_run: bool, **wrapping: Unpack[_Wrapping]
    ) -> ImportParameters | DryRun: ...

    async def get_parameters_for_import(
        self,
        key: str,
        *,
        version: int | None = None,
        wrapping_algorithm: WrappingAlgorithm = "RSA_AES_KEY_WRAP_SHA_256",
        wrapping_key_spec: WrappingKeySpec = "RSA_4096",
        dry_run: bool = False,
        **sending: Unpack[Sending],
    ) -> ImportParameters | DryRun:
        """Let the service make a wrapping key for one import, usable for a day; an earlier one of the key is void.

        `version` None is the first version that waits for its material, else the current one.
        """
        arguments = {
            "key_version": version,
            "wrapping_algorithm": wrapping_algorithm,
            "wrapping_key_spec": wrapping_key_spec,
        }
        how: Options = {**sending, "dry_run": dry_run}
        intent, answer = await self._ask("GetParametersForImport", key, arguments, how)
        return dry_run_of(intent, answer) if dry_run else import_parameters(answer)

    async def import_key_material(
        self, key: str, wrapped: bytes, *, import_token: str, valid_to: When | None = None, **use: Unpack[Use]
    ) -> Completed:
        """Import wrapped material; from then on the key can be used, until `valid_to` if that is given.

        The import token is used up by the first command that is authorized, whatever comes of it.
        """
        self._open_lanes()
        end = None if valid_to is None else moment(valid_to, self._exchange.now_ms())
        arguments = arguments_text("ImportKeyMaterial", {"import_token": import_token, "valid_to": end})
        intent = await self._use("ImportKeyMaterial", key, arguments, use)
        return completed(await self._alone(intent, use.get("timeout_s"), [(0, item_bytes(wrapped))], [EMPTY]))

    async def import_key(
        self, key: str, material: KeyMaterial, *, valid_to: When | None = None, **wrapping: Unpack[_Wrapping]
    ) -> Completed:
        """Get parameters, wrap the material here, and import it."""
        parameters = await self.get_parameters_for_import(key, **wrapping)
        wrapped = wrap_key_material(parameters, material)
        return await self.import_key_material(
            parameters.key_id,
            wrapped,
            import_token=parameters.import_token,
            valid_to=valid_to,
            reason=wrapping.get("reason"),
            timeout_s=wrapping.get("timeout_s"),
        )

    async def delete_imported_key_material(
        self, key: str, *, version: int | None = None, cause: DeletionCause = "requested", **options: Unpack[Options]
    ) -> Completed:
        """Delete a version's imported material (None: the current one's), until the same is imported again."""
        arguments = {"key_version": version, "cause": cause}
        return await self._do("DeleteImportedKeyMaterial", key, arguments, **options)
