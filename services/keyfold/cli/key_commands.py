"""`keyfold key`: the table of its commands, which are in the modules `key_…`, `keys`, `blast_radius` and `erasure`."""

from typing import Final

import typer

from keyfold.cli.lazy import Lazy, group_of

_TABLE: Final = (
    Lazy("create", "keys:app", "Create a key: AES-256-GCM, unless --spec says otherwise."),
    Lazy("list", "keys:app", "List keys."),
    Lazy(
        "show",
        "key_show:app",
        "Show a key: its state now, its versions, its public key, its names and its use; or as all that was at a time.",
    ),
    Lazy("describe", "key_show:app", "Show a key, as `key show` does."),
    Lazy(
        "versions",
        "key_show:app",
        "List the versions of a key: status, material, what they served, and when they were erased.",
    ),
    Lazy(
        "public-key",
        "key_show:app",
        "Print the public half of a version (SubjectPublicKeyInfo), as the HSM worker signed that it is.",
    ),
    Lazy("rotate", "key_life:app", "Make a new version, which protects from now on; older versions still decrypt."),
    Lazy("enable", "key_life:app", "Let a disabled key be used again."),
    Lazy("disable", "key_life:app", "Stop all use of a key: no command that comes after this one is served."),
    Lazy(
        "schedule-deletion",
        "key_life:app",
        "Destroy a key after a waiting period; until then the deletion can be cancelled.",
    ),
    Lazy("cancel-deletion", "key_life:app", "Take a scheduled deletion back; the key is disabled then."),
    Lazy("destroy-now", "key_life:app", "Destroy a key at once, without a waiting period."),
    Lazy("tag", "key_life:app", "Give a key tags; those of the same name are replaced."),
    Lazy("untag", "key_life:app", "Take tags away from a key."),
    Lazy(
        "budget",
        "key_life:app",
        "Say how many items each version of a key may protect, and when it is rotated by itself.",
    ),
    Lazy("validity", "key_validity:app", "Say from when to when a key protects."),
    Lazy("rotation", "key_validity:app", "Rotation by period."),
    Lazy("disable-version", "key_versions:app", "Stop a version from opening and verifying; others go on."),
    Lazy("enable-version", "key_versions:app", "Let a disabled version open and verify again."),
    Lazy(
        "destroy-version",
        "key_versions:app",
        "Destroy the material of one version that was disabled, or marked as compromised, seven days ago or earlier.",
    ),
    Lazy(
        "compromise",
        "key_compromise:app",
        "Mark versions of a key as compromised: they protect nothing any more, and open only for whom a policy names.",
    ),
    Lazy(
        "import-parameters",
        "key_import:app",
        "Ask for what one import needs: a public wrapping key and an import token, good for 24 hours and one use.",
    ),
    Lazy(
        "delete-material",
        "key_import:app",
        "Delete imported material; the version waits until the very same material is imported again.",
    ),
    Lazy(
        "blast-radius",
        "blast_radius:app",
        "Tell who used versions of a key since a time, for what, from where and under which contexts.",
    ),
    Lazy(
        "erasure-certificate",
        "erasure:app",
        "Export the proof that destroyed versions of a key are erased, verbatim from the verified log.",
    ),
    Lazy(
        "check-certificate",
        "erasure:app",
        "Check an erasure certificate offline, from the deployment's fingerprint alone.",
    ),
)

app = typer.Typer(
    name="key", help="Create keys and lead them through their life.", no_args_is_help=True, cls=group_of(*_TABLE)
)
